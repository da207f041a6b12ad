"""Anchor compensation of HAMBox."""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from .grid_max_iou_assigner import GridMaxIoUAssigner
from .online_assigner import OnlineAssigner, count_matches


@TASK_UTILS.register_module()
class HAMBoxAssigner(OnlineAssigner):
    """Online high-quality anchor compensation (HAMBox).

    Source: https://arxiv.org/abs/1912.09231. Anchors that match no face may still
    predict one well. After the matching by IoU, a face with fewer than ``num_matches``
    priors gets the unmatched ones whose predicted boxes overlap it most, by an IoU of
    ``pred_iou_thr`` or more, until it has that many; their label weight is this IoU.
    What overlaps as much and is not taken is ignored. A prediction belongs to the face
    that it overlaps most.

    Of the paper, both sums of positives have one normaliser here, the positives'
    number. For the step on which it acts see ``OnlineAssigner``.

    Args:
        *args: Those of ``GridMaxIoUAssigner``; the paper matches at .35.
        num_matches: Matches that each face should have, K (paper).
        pred_iou_thr: Least IoU of a prediction, T2. Default: paper; a public code has
            .5.
        **kwargs: Those of ``GridMaxIoUAssigner``.

    Raises:
        ValueError: If ``pred_iou_thr`` is not in (0, 1].
    """

    def __init__(
        self, *args, num_matches: int = 5, pred_iou_thr: float = 0.8, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 < pred_iou_thr <= 1:
            raise ValueError(f'pred_iou_thr={pred_iou_thr} must be in (0, 1]')
        self.num_matches = num_matches
        self.by_prediction = GridMaxIoUAssigner(
            pos_iou_thr=pred_iou_thr, neg_iou_thr=pred_iou_thr, match_low_quality=False
        )

    def add(
        self,
        matched: Tensor,
        free: Tensor,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
    ) -> tuple[Tensor, Tensor]:
        """Choose positives to add; see ``OnlineAssigner.add``."""
        rows = free.nonzero().squeeze(1)
        found = self.by_prediction.assign(
            InstanceData(priors=pred_instances.bboxes[rows]), gt_instances
        )
        overlaps = found.max_overlaps
        good = (found.gt_inds > 0).nonzero().squeeze(1)
        # by faces, and of each the best first
        good = good[overlaps[good].argsort(descending=True, stable=True)]
        good = good[found.gt_inds[good].argsort(stable=True)]
        faces = found.gt_inds[good]
        rank = torch.arange(len(faces)).to(faces) - torch.searchsorted(faces, faces)
        missing = self.num_matches - count_matches(matched, len(gt_instances))
        taken = rank < missing[faces - 1]
        gt_inds, weights = torch.zeros_like(matched), torch.zeros_like(free.float())
        gt_inds[rows[good]] = torch.where(taken, faces, -1)
        weights[rows[good]] = overlaps[good]
        return gt_inds, weights
