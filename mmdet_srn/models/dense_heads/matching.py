"""Matching of one step's priors with the faces."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from ..task_modules.assigners import OnlineAssigner, find_ignored

if TYPE_CHECKING:
    from .srn_head import SRNHead

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
        added: Boolean (N, P), positives by what is predicted of them alone (see
            ``OnlineAssigner``).
    """

    labels: Tensor
    label_weights: Tensor
    bbox_targets: Tensor
    added: Tensor


def match_step(
    head: 'SRNHead',
    assigner: BaseAssigner,
    priors: Tensor,
    valid: Tensor | None,
    batch_gt_instances: InstanceList,
    batch_gt_instances_ignore: OptInstanceList = None,
    predictions: Mapping[str, Tensor] | None = None,
) -> StepTargets:
    """Match the priors of one step, image by image.

    Args:
        head: Its classes, its coder and the ``pos_weight`` of its ``train_cfg`` make
            the targets.
        assigner: The step's matching.
        priors: (N, P, 4), xyxy in pixels.
        valid: Boolean (N, P), priors that take part; None for all.
        batch_gt_instances: ``bboxes`` (K, 4) xyxy in pixels and ``labels`` (K, ) of
            each image.
        batch_gt_instances_ignore: ``bboxes`` to ignore of each image; None for none.
        predictions: For an ``OnlineAssigner``, what it reads, each (N, P, ...).
    """
    ignored = batch_gt_instances_ignore or [None] * len(priors)
    assigned = priors.new_full(priors.shape[:2], -1, dtype=torch.long)  # (N, P)
    added_weights = torch.zeros_like(priors[..., 0])
    for i, gt_instances in enumerate(batch_gt_instances):
        rows = slice(None) if valid is None else valid[i].nonzero().squeeze(1)
        own = {name: each[i, rows] for name, each in (predictions or {}).items()}
        pred_instances = InstanceData(priors=priors[i, rows], **own)
        result = assign_priors(assigner, pred_instances, gt_instances, ignored[i])
        assigned[i, rows] = result.gt_inds
        if isinstance(assigner, OnlineAssigner):
            added_weights[i, rows] = result.get_extra_property('added_weights')
    # Faces of all images in one list, and where each image's begin
    gts = InstanceData.cat(batch_gt_instances)
    counts = torch.tensor([0, *map(len, batch_gt_instances[:-1])])
    offsets = counts.cumsum(0).to(priors.device)
    positive = (assigned > 0).flatten().nonzero().squeeze(1)  # (K, )
    matched = assigned.flatten()[positive] - 1 + offsets[positive // len(priors[0])]
    labels = torch.full_like(assigned, head.num_classes)
    labels.view(-1)[positive] = gts.labels[matched]
    label_weights = (assigned >= 0).to(priors.dtype)
    pos_weight = head.train_cfg.get('pos_weight', -1)
    if pos_weight > 0:
        label_weights.view(-1)[positive] = pos_weight
    added = added_weights > 0
    label_weights[added] *= added_weights[added]
    targets = gts.bboxes[matched]  # (K, 4)
    if not head.reg_decoded_bbox:
        targets = head.bbox_coder.encode(priors.flatten(0, 1)[positive], targets)
    bbox_targets = torch.zeros_like(priors, memory_format=torch.contiguous_format)
    bbox_targets.view(-1, 4)[positive] = targets.to(bbox_targets)
    return StepTargets(labels, label_weights, bbox_targets, added)


def assign_priors(
    assigner: BaseAssigner,
    pred_instances: InstanceData,
    gt_instances: InstanceData,
    ignored: InstanceData | None,
) -> AssignResult:
    """Match priors (P, 4); ``gt_inds``: -1 ignored, 0 background, i + 1 face i."""
    if len(gt_instances) or ignored is None:
        return assigner.assign(pred_instances, gt_instances, ignored)
    # MaxIoUAssigner looks at ignored boxes only where there are others.
    result = assigner.assign(pred_instances, gt_instances)
    taken_out = find_ignored(assigner, pred_instances.priors, ignored.bboxes)
    result.gt_inds[taken_out] = -1
    return result
