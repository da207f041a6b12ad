"""Matching of one step's priors with the faces."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from ..task_modules.assigners import find_ignored

PAPER_FIRST_ASSIGNER = dict(
    type='GridMaxIoUAssigner',
    pos_iou_thr=0.7,
    neg_iou_thr=0.3,
    match_low_quality=False,
    ignore_iof_thr=0.5,
)
"""Matching of the first step where train_cfg names none (paper, 'Training')."""


class StepTargets(NamedTuple):
    """Targets of the priors of one step, with N images and P priors.

    Attributes:
        labels: (N, P), from 0 to num_classes, which is background.
        label_weights: (N, P), 0 for priors between the thresholds.
        bbox_targets: (N, P, 4), deltas (under ``reg_decoded_bbox`` boxes) of the
            positives, 0 elsewhere.
    """

    labels: Tensor
    label_weights: Tensor
    bbox_targets: Tensor


def match_step(
    assigner: BaseAssigner,
    priors: Tensor,
    valid: Tensor | None,
    batch_gt_instances: InstanceList,
    batch_gt_instances_ignore: OptInstanceList,
    num_classes: int,
    encode: Callable[[Tensor, Tensor], Tensor] | None = None,
    pos_weight: float = -1,
) -> StepTargets:
    """Match the priors of one step, image by image.

    Args:
        assigner: The step's matching.
        priors: (N, P, 4), xyxy in pixels.
        valid: Boolean (N, P), priors that take part; None for all.
        batch_gt_instances: ``bboxes`` (K, 4) xyxy in pixels and ``labels`` (K, ) of
            each image.
        batch_gt_instances_ignore: ``bboxes`` to ignore of each image; None for none.
        num_classes: The label of background.
        encode: Makes regression targets of priors and boxes; None for the boxes.
        pos_weight: Label weight of the positives; 1 if not positive.
    """
    ignored = batch_gt_instances_ignore or [None] * len(priors)
    assigned = priors.new_full(priors.shape[:2], -1, dtype=torch.long)  # (N, P)
    for i, gt_instances in enumerate(batch_gt_instances):
        rows = slice(None) if valid is None else valid[i].nonzero().squeeze(1)
        assigned[i, rows] = assign_priors(
            assigner, priors[i, rows], gt_instances, ignored[i]
        )
    # Faces of all images in one list, and where each image's begin
    gts = InstanceData.cat(batch_gt_instances)
    counts = torch.tensor([0, *map(len, batch_gt_instances[:-1])])
    offsets = counts.cumsum(0).to(priors.device)
    positive = (assigned > 0).flatten().nonzero().squeeze(1)  # (K, )
    matched = assigned.flatten()[positive] - 1 + offsets[positive // len(priors[0])]
    labels = torch.full_like(assigned, num_classes)
    labels.view(-1)[positive] = gts.labels[matched]
    label_weights = (assigned >= 0).to(priors.dtype)
    if pos_weight > 0:
        label_weights.view(-1)[positive] = pos_weight
    targets = gts.bboxes[matched]  # (K, 4)
    if encode is not None:
        targets = encode(priors.flatten(0, 1)[positive], targets)
    bbox_targets = torch.zeros_like(priors, memory_format=torch.contiguous_format)
    bbox_targets.view(-1, 4)[positive] = targets.to(bbox_targets)
    return StepTargets(labels, label_weights, bbox_targets)


def assign_priors(
    assigner: BaseAssigner,
    priors: Tensor,
    gt_instances: InstanceData,
    ignored: InstanceData | None,
) -> Tensor:
    """Match priors (P, 4); (P, ): -1 ignored, 0 background, i + 1 face i."""
    pred_instances = InstanceData(priors=priors)
    if len(gt_instances) or ignored is None:
        return assigner.assign(pred_instances, gt_instances, ignored).gt_inds
    # MaxIoUAssigner looks at ignored boxes only where there are others.
    assigned = assigner.assign(pred_instances, gt_instances).gt_inds
    assigned[find_ignored(assigner, priors, ignored.bboxes)] = -1
    return assigned
