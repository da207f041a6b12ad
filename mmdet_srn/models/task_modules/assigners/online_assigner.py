"""Matching by IoU that adds positives by what is predicted."""

from abc import abstractmethod

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmengine.structures import InstanceData
from torch import Tensor

from .grid_max_iou_assigner import GridMaxIoUAssigner, find_ignored


class OnlineAssigner(GridMaxIoUAssigner):
    """Base of assigners that match by IoU and then add positives by predictions.

    In ``SRNHead`` such an assigner may be that of the second step, whose boxes and
    scores are the detector's: ``train_cfg.assigner``. The first step keeps a matching
    of its own; only where the second has an added positive, the first does not learn
    background, or it would drop the anchor before the second sees it.

    ``pred_instances`` have, beside the priors, ``bboxes`` (P, 4), the boxes that are
    predicted of them, ``scores`` (P, C), and ``levels`` (P, ), the pyramid's level of
    each. Without ``bboxes`` it is ``GridMaxIoUAssigner``. Priors that ignored boxes
    take out are never added.

    The result has an extra property ``added_weights`` (P, ): the label weight of each
    added positive, 0 elsewhere.
    """

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: object,
    ) -> AssignResult:
        """Assign a box, background or neither to each prior.

        Arguments and result are those of ``GridMaxIoUAssigner.assign`` and above.
        """
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore)
        added = torch.zeros_like(result.max_overlaps)
        result.set_extra_property('added_weights', added)
        if 'bboxes' not in pred_instances or not len(gt_instances):
            return result
        free = result.gt_inds <= 0
        if gt_instances_ignore is not None:
            free &= ~find_ignored(
                self, pred_instances.priors, gt_instances_ignore.bboxes
            )
        gt_inds, weights = self.add(result.gt_inds, free, pred_instances, gt_instances)
        new = gt_inds > 0
        result.labels[new] = gt_instances.labels[gt_inds[new] - 1]
        result.gt_inds = torch.where(gt_inds == 0, result.gt_inds, gt_inds)
        added[new] = weights[new]
        return result

    @abstractmethod
    def add(
        self,
        matched: Tensor,
        free: Tensor,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
    ) -> tuple[Tensor, Tensor]:
        """Choose positives to add.

        Args:
            matched: ``gt_inds`` (P, ) of the matching by IoU.
            free: Boolean (P, ), priors that may be added.
            pred_instances: See above.
            gt_instances: ``bboxes`` (K, 4), K > 0, and ``labels`` (K, ).

        Returns:
            (P, ), i + 1 for a prior that box i gets, -1 for one to ignore and 0 for
            one that stays as it is; and label weights (P, ) of those that boxes get.
        """


def count_matches(gt_inds: Tensor, number: int) -> Tensor:
    """Count the priors of each of ``number`` boxes: (number, )."""
    return torch.bincount(gt_inds[gt_inds > 0] - 1, minlength=number)
