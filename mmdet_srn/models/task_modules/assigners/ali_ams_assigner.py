"""Anchor mining of MogFace."""

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData
from torch import Tensor

from .online_assigner import OnlineAssigner, count_matches

CHUNK_SIZE = 64
"""Faces that are compared with a level's anchors at a time: 34 MB on P2 at 1024."""


@TASK_UTILS.register_module()
class AliAMSAssigner(OnlineAssigner):
    """Adaptive online incremental anchor mining (Ali-AMS of MogFace).

    Source: https://arxiv.org/abs/2103.11139 and its code. On each level, N is the
    greatest number of priors that any face got by the matching. A face that got n of
    them, at least one and fewer than N, looks at the N priors whose centres are nearest
    its own, and takes the N - n with the highest score, as far as they are free. What
    several faces want, the first gets. There is nothing to set.

    MogFace has one anchor per cell, matches at .35, with each face's best anchor
    (``match_low_quality``), and adds nothing on P7. With several anchors per cell, of
    equally near ones any are looked at. For the step on which it acts see
    ``OnlineAssigner``.
    """

    def add(
        self,
        matched: Tensor,
        free: Tensor,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
    ) -> tuple[Tensor, Tensor]:
        """Choose positives to add; see ``OnlineAssigner.add``."""
        nobody = len(gt_instances)
        first = torch.full_like(matched, nobody)  # face that wants each prior
        centres = bbox_xyxy_to_cxcywh(pred_instances.priors)[:, :2]
        for level in pred_instances.levels.unique():
            rows = (pred_instances.levels == level).nonzero().squeeze(1)
            counts = count_matches(matched[rows], len(gt_instances))
            most = int(counts.amax())
            short = ((counts > 0) & (counts < most)).nonzero().squeeze(1)
            for faces in short.split(CHUNK_SIZE):
                distances = torch.cdist(
                    bbox_xyxy_to_cxcywh(gt_instances.bboxes[faces])[:, :2],
                    centres[rows],
                    # by products it would be wrong by some tenths of a pixel
                    compute_mode='donot_use_mm_for_euclid_dist',
                )
                near = rows[distances.topk(most, largest=False).indices]  # (faces, N)
                labels = gt_instances.labels[faces, None]
                rank = pred_instances.scores[near, labels].argsort(descending=True)
                rank = rank.argsort()
                wanted = rank < (most - counts[faces])[:, None]
                wanted &= free[near]
                face = faces[:, None].expand_as(near)[wanted]
                first.scatter_reduce_(0, near[wanted], face, 'amin')
        gt_inds = torch.where(first == nobody, 0, first + 1)
        return gt_inds, torch.ones_like(free.float())
