"""The rounded anchors that the released SRN was trained with."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class SRNAnchorGenerator(AnchorGenerator):
    """Anchors with integer base sizes and pixel-centred corners.

    Per stride ``S`` and ratio ``r = h / w`` the base size is rounded to whole
    pixels, ``w = round(sqrt(S * S / r))`` and ``h = round(r * w)``, half to
    even. Scaled by ``s``, the corners lie ``(s * w - 1) / 2`` and
    ``(s * h - 1) / 2`` from the centre ``(S - 1) / 2 + k * S`` (released code).
    No other generator of mmdet reproduces them, and the released weights need
    them. For unrounded anchors use mmdet's own generator::

        dict(type='AnchorGenerator', scales=[2, 2 * 2**0.5], ratios=[1.25],
             strides=[4, 8, 16, 32, 64, 128], center_offset=0.5)

    Args:
        strides: Stride of each level in pixels. Default: P2 to P7.
        scales: Multiples of the base size (paper, 'Network Structure').
        ratios: Height over width.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32, 64, 128),
        scales: Sequence[float] = (2.0, 2.0 * math.sqrt(2.0)),
        ratios: Sequence[float] = (1.25,),
    ) -> None:
        super().__init__(strides=strides, ratios=ratios, scales=scales)

    def gen_single_level_base_anchors(
        self,
        base_size: float,
        scales: Tensor,
        ratios: Tensor,
        center: tuple[float, float] | None = None,
    ) -> Tensor:
        """Make the anchors (R * S, 4) of the cell at the origin, xyxy, scale fastest.

        Args:
            base_size: Stride of the level in pixels.
            scales: Multiples of the base size, (S, ).
            ratios: Height over width, (R, ).
            center: Centre (x, y) in pixels; None for the middle of the cell's pixels.
        """
        if center is None:
            center = ((base_size - 1) / 2, (base_size - 1) / 2)
        anchors = []
        # float64, so that the corners are the nearest float32 to the rule
        for ratio in ratios.double().tolist():
            width = np.round(math.sqrt(base_size * base_size / ratio))
            height = np.round(ratio * width)
            for scale in scales.double().tolist():
                dx = (scale * width - 1) / 2
                dy = (scale * height - 1) / 2
                anchors.append(
                    (center[0] - dx, center[1] - dy, center[0] + dx, center[1] + dy)
                )
        return torch.tensor(anchors, dtype=torch.float32)
