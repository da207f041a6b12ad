"""SRN for images of one size, in operators that small runtimes have."""

import torch
from mmdet.models import SingleStageDetector
from torch import Tensor

from .srn_graph import SRNGraph, rows_of


class StaticGraph(SRNGraph):
    """An ``SRNGraph`` whose batch, height and width are fixed, up to NMS.

    The input is float32 (N, 3, H, W) from 0 to 255, BGR: what
    ``cv2.dnn.blobFromImages(images)`` makes. The outputs are all anchors' boxes
    (N, P, 4), xyxy in pixels, and scores (N, P), level by level, the finest first. A
    score of 0 is what the first step or a threshold drops. The best of each level and
    of all (``nms_pre``, ``max_before_nms``), NMS and voting are left to the reader.

    Exported it has no boolean tensors and no arithmetic of shapes.

    Args:
        detector: With an ``SRNHead`` of one class.
        size: N, H, W.

    Raises:
        ValueError: If the graph cannot represent the detector or its ``test_cfg``.
    """

    dynamic_axes = {}

    def __init__(
        self, detector: SingleStageDetector, size: tuple[int, int, int]
    ) -> None:
        super().__init__(detector, 'boxes')
        if min(size) < 1:
            raise ValueError(f'batch, height and width must be positive, not {size}')
        self.form = 'static'
        self.second_steps = None  # all over: cells to choose are no fixed size
        self.size = size
        self.input_format = dict(
            dtype='float32', layout='NCHW', channel_order='BGR', size=list(size)
        )

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return ['boxes', 'scores']

    @property
    def example(self) -> Tensor:
        """An input."""
        number, height, width = self.size
        return torch.zeros(number, 3, height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute boxes and scores of images, float32 (N, 3, H, W)."""
        inputs = self.preprocess(images.permute(0, 2, 3, 1))
        maps = self.detector.bbox_head(self.detector.extract_feat(inputs))
        levels = [(s, self.decode(*boxes)) for s, *boxes in self.levels(maps)]
        scores, boxes = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        return boxes, scores

    def drop(self, scores: Tensor, logits: Tensor, first: Tensor | None) -> Tensor:
        """Set the scores to 0 that the threshold or the first step drops."""
        threshold = self.selection.threshold(logits[0, 0].numel())
        scores = scores * is_above(scores, threshold)
        if first is not None:
            negative = 1 - rows_of(first, 1).sigmoid().squeeze(2)
            scores = scores * (1 - is_above(negative, self.detector.bbox_head.theta))
        return scores


def is_above(values: Tensor, threshold: float) -> Tensor:
    """1 where values are above a threshold, else 0, without a boolean tensor."""
    return (values - threshold).clamp(0, 1).ceil()
