"""PyramidBox's data-anchor-sampling."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import TRANSFORMS

from .load_square_crop import LoadSquareCrop


@TRANSFORMS.register_module()
class LoadDataAnchorCrop(LoadSquareCrop):
    """Load a square in which a random face is about as large as a random anchor.

    Tang et al., "PyramidBox: A Context-assisted Single Shot Face Detector", ECCV 2018,
    section 3.4: pick a face of the image and find the anchor scale nearest to its
    size; pick one of the scales from the smallest to the one after the nearest; the
    face gets a size from half to twice that scale. Most faces shrink. It replaces
    :class:`LoadSquareCrop` and crops as that does where it does not sample::

        train_dataloader.dataset.pipeline.1.type=LoadDataAnchorCrop

    A face's size is the square root of its area. Where the paper leaves it open we
    choose: the square stays within the photograph where it can, and holds all of the
    photograph where it is larger; a face never gets larger than the square.

    Small faces shrink, too, some to less than a pixel. They match no anchor then.

    With ``size_ranges`` it is the Selective Scale Enhancement of MogFace
    (https://arxiv.org/abs/2103.11139) instead, whose sizes do not depend on the face.

    Args:
        size: See :class:`LoadSquareCrop`; the paper's is 640.
        prob: Probability of sampling. Defaults to 0.5, as in the authors' code.
        anchor_scales: Anchor sizes in pixels, ascending. Defaults to the paper's; the
            sides of SRN's anchors go from 7 to 405.
        size_ranges: In the place of ``anchor_scales``, ranges of sizes in pixels with
            their probability, ``(probability, smallest, largest)``: the face gets a
            size of one of them. MogFace's (its code, for crops of 640, all of them
            sampled): ``((0.64, 16, 106.2), (0.2, 106.2, 212.4), (0.16, 212.4,
            420.8))``, the last two being its P5 and P6.
        **kwargs: See :class:`LoadSquareCrop`. ``reduce=False`` is refused: the square
            around a face that shrinks to a fiftieth would not fit in memory.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        prob: float = 0.5,
        anchor_scales: tuple[float, ...] = (16, 32, 64, 128, 256, 512),
        size_ranges: Sequence[tuple[float, float, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(size, **kwargs)
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be within [0, 1], not {prob}')
        if not anchor_scales or list(anchor_scales) != sorted(set(anchor_scales)):
            raise ValueError(f'anchor_scales must be ascending, not {anchor_scales}')
        if anchor_scales[0] <= 0:
            raise ValueError(f'anchor_scales must be positive, not {anchor_scales}')
        if size_ranges is not None:
            shares, smallest, largest = np.transpose(size_ranges)
            if shares.min() < 0 or not np.isclose(shares.sum(), 1):
                raise ValueError(f'size_ranges: {shares} are no probabilities')
            if smallest.min() <= 0 or (smallest > largest).any():
                raise ValueError(f'size_ranges must be positive, not {size_ranges}')
        if not self.reduce:
            raise ValueError('LoadDataAnchorCrop needs reduce=True')
        self.prob = prob
        self.anchor_scales = tuple(anchor_scales)
        self.size_ranges = None if size_ranges is None else tuple(size_ranges)

    def _draw(self, height: int, width: int, faces: np.ndarray) -> tuple[int, int, int]:
        """Draw the square around a random face, or else LoadSquareCrop's."""
        proper = faces[(faces[:, 2:] > faces[:, :2]).all(axis=1)]
        if not len(proper) or np.random.uniform(0, 1) >= self.prob:
            return super()._draw(height, width, faces)
        x1, y1, x2, y2 = proper[np.random.randint(len(proper))].tolist()
        face = math.sqrt((x2 - x1) * (y2 - y1))
        side = round(self.size * face / self._random_target(face))
        _, _, side = self._on_grid(0, 0, max(1, side))
        step = self._step(side)
        left = _random_start(x1, x2, side, width, step)
        top = _random_start(y1, y2, side, height, step)
        return left, top, side

    def _random_target(self, face: float) -> float:
        """Draw the size in the output, in pixels, of a face of a given size."""
        if self.size_ranges is not None:
            shares = [share for share, _, _ in self.size_ranges]
            _, low, high = self.size_ranges[np.random.choice(len(shares), p=shares)]
            return min(np.random.uniform(low, high), self.size)
        scales = self.anchor_scales
        nearest = int(np.argmin(np.abs(np.array(scales) - face)))
        last = min(nearest + 1, len(scales) - 1)
        scale = scales[np.random.randint(last + 1)]
        return min(np.random.uniform(scale / 2, scale * 2), self.size)


def _random_start(low: float, high: float, side: int, length: int, step: int) -> int:
    """Draw where the square starts along one side of the photograph.

    ``low`` and ``high`` are the face's ends, ``length`` is the photograph's; the start
    is a multiple of ``step``.
    """
    # The square holds the face; if that is longer, both have the same middle.
    first, last = high - side, low
    if first > last:
        first = last = (low + high - side) / 2
    # Inside the photograph, or all of it; faces beyond its edge take precedence.
    inner, outer = sorted((0, length - side))
    if max(first, inner) <= min(last, outer):
        first, last = max(first, inner), min(last, outer)
    first, last = math.ceil(first / step), math.floor(last / step)
    return step * (np.random.randint(first, last + 1) if first <= last else last)
