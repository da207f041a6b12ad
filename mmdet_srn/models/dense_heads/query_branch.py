"""Which cells of a level can hold a face, seen from the next coarser one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.model import BaseModule
from torch import Tensor, nn


class QueryBranch(BaseModule):
    """Convolutions and one channel: is there a face of the finer level near a cell?

    Args:
        in_channels: Channels of the maps.
        feat_channels: Channels of the convolutions.
        stacked_convs: Number of 3x3 convolutions before the channel.
        init_cfg: Default: Xavier, and the predictor as ``SRNHead``'s.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 64,
        stacked_convs: int = 1,
        init_cfg: dict | list[dict] | None = dict(  # noqa: B006
            type='Xavier',
            layer='Conv2d',
            distribution='uniform',
            override=dict(type='Normal', name='predictor', std=0.01, bias_prob=0.01),
        ),
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        channels = [in_channels, *[feat_channels] * stacked_convs]
        self.tower = nn.Sequential(
            *(
                ConvModule(before, feat_channels, 3, padding=1)
                for before in channels[:-1]
            )
        )
        self.predictor = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits (N, 1, H, W) of a map (N, C, H, W)."""
        return self.predictor(self.tower(x))


class QueryTargets(NamedTuple):
    """Targets of the P cells of one map in N images.

    Attributes:
        labels: (N, P), 0 near a face and 1, which is background, elsewhere.
        weights: (N, P), 0 for background inside an ignored box.
    """

    labels: Tensor
    weights: Tensor


def query_targets(
    centres: Tensor,
    radius: float,
    anchors: Tensor,
    min_iou: float,
    batch_gt_instances: InstanceList,
    batch_gt_instances_ignore: OptInstanceList = None,
) -> QueryTargets:
    """Find the cells that are near a face of the next finer level.

    A face belongs to a level if one of the level's anchors would overlap it enough if
    both had the same centre.

    Args:
        centres: Of the coarse map's cells, x and y in pixels, (P, 2).
        radius: A face's centre is near if it is less than so many pixels away.
        anchors: Of one cell of the finer level, (A, 4) xyxy in pixels.
        min_iou: Least IoU of a face with an anchor.
        batch_gt_instances: Of each image ``bboxes`` (K, 4), xyxy in pixels.
        batch_gt_instances_ignore: The same, to ignore; None for none.
    """
    ignored = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
    positive, free = [], []
    for gt_instances, others in zip(batch_gt_instances, ignored, strict=True):
        boxes = gt_instances.bboxes
        fits = bbox_overlaps(_centred(boxes), _centred(anchors)) >= min_iou
        boxes = boxes[fits.any(dim=1)]
        distances = torch.cdist(centres, (boxes[:, :2] + boxes[:, 2:]) / 2)  # (P, K)
        positive.append((distances < radius).any(dim=1))
        if others is None:
            free.append(torch.ones_like(positive[-1]))
        else:
            boxes, cells = others.bboxes, centres.unsqueeze(1)
            inside = (cells >= boxes[:, :2]) & (cells <= boxes[:, 2:])  # (P, K, 2)
            free.append(~inside.all(dim=2).any(dim=1))
    near = torch.stack(positive)
    weights = (near | torch.stack(free)).to(centres.dtype)
    return QueryTargets((~near).long(), weights)


def _centred(boxes: Tensor) -> Tensor:
    """Move boxes (K, 4) to the origin."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat([-half, half], dim=1)


def finer_cells(coarse: Tensor, size: Sequence[int], ring: int) -> Tensor:
    """Find the cells of a map that are below cells of one half as fine, or near these.

    Args:
        coarse: Boolean (N, h, w).
        size: H, W of the finer map; a last odd row or column is below the last one.
        ring: Cells to add on all sides.

    Returns:
        Boolean (N, H, W).
    """
    rows, columns = (
        (torch.arange(fine, device=coarse.device) // 2).clamp(max=number - 1)
        for fine, number in zip(size, coarse.shape[1:], strict=True)
    )
    return grow(coarse[:, rows][:, :, columns], ring)


def grow(cells: Tensor, ring: int) -> Tensor:
    """Add so many cells on all sides of each, boolean (N, H, W)."""
    return F.max_pool2d(cells.float(), 2 * ring + 1, 1, ring) > 0
