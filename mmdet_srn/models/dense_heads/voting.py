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
    # x1, y1, x2, y2, each (..., M, 1) and (..., 1, K)
    one, other = kept.unsqueeze(-2).unbind(-1), boxes.unsqueeze(-3).unbind(-1)
    width = torch.minimum(one[2], other[2]) - torch.maximum(one[0], other[0])
    height = torch.minimum(one[3], other[3]) - torch.maximum(one[1], other[1])
    overlap = width.clamp(min=0) * height.clamp(min=0)  # (..., M, K)
    areas = ((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other))
    agree = (overlap > 0) & (overlap >= iou_thr * (sum(areas) - overlap))
    if weights.dim() < agree.dim():
        weights = weights.unsqueeze(-2)
    weights = torch.where(agree, weights, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    mean = weights @ boxes / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, mean, kept)
