"""Boxes as means of all candidates that agree on them."""

import torch
from torch import Tensor


def vote_boxes(kept: Tensor, boxes: Tensor, weights: Tensor, iou_thr: float) -> Tensor:
    """Replace each box that NMS keeps by the mean of those that overlap it.

    Gidaris and Komodakis, "Object Detection via a Multi-region and Semantic
    Segmentation-aware CNN Model", ICCV 2015, section 4. Nothing is dropped: a box that
    nothing overlaps stays. To be exported, it decides nothing by its tensors' sizes.

    Args:
        kept: (..., M, 4), xyxy.
        boxes: All candidates, those of ``kept`` among them, (..., K, 4).
        weights: Their weights in a mean, such as their scores, at least 0: (..., K),
            or (..., M, K) if they depend on the box.
        iou_thr: Least IoU of a candidate that takes part.

    Returns:
        (..., M, 4).
    """
    one, other = kept.unsqueeze(-2), boxes.unsqueeze(-3)
    low = torch.maximum(one[..., :2], other[..., :2])  # (..., M, K, 2)
    high = torch.minimum(one[..., 2:], other[..., 2:])
    overlap = _area(low, high, least=0)
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:])
    agree = (overlap > 0) & (overlap >= iou_thr * (union - overlap))
    if weights.dim() < agree.dim():
        weights = weights.unsqueeze(-2)
    weights = torch.where(agree, weights, 0.0)  # (..., M, K)
    total = weights.sum(dim=-1, keepdim=True)
    mean = weights @ boxes / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, mean, kept)


def _area(low: Tensor, high: Tensor, least: float | None = None) -> Tensor:
    sides = high - low if least is None else (high - low).clamp(min=least)
    return sides[..., 0] * sides[..., 1]
