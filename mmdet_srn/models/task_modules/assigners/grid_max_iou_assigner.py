"""Matching by IoU, computed only where a prior can reach a threshold."""

from collections.abc import Iterator

import torch
from mmdet.models.task_modules.assigners import (
    AssignResult,
    BboxOverlaps2D,
    MaxIoUAssigner,
)
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .near_pairs import near_pairs

CHUNK_SIZE = 1 << 16
"""Largest number of pairs whose overlaps are computed at a time (our choice): more are
no faster on a CPU."""

DENSE_PAIRS = {'cpu': 0}
"""Up to this number of boxes times priors ``MaxIoUAssigner`` computes all overlaps at
once. On other devices, where few large operations are faster, 2**24: 96 faces and the
anchors of 1024x1024, half a gigabyte."""

# Farther out, areas could overflow.
MAX_COORDINATE = 1e15


@TASK_UTILS.register_module()
class GridMaxIoUAssigner(MaxIoUAssigner):
    """``MaxIoUAssigner`` for many anchors and many boxes.

    ``gt_inds`` and ``labels`` are those of ``MaxIoUAssigner``, without the matrix of
    all overlaps: only pairs of boxes and priors that may reach a threshold are compared
    (see ``near_pairs``). Memory grows with priors plus boxes. It reads nothing but the
    priors, so it works in any head.

    ``max_overlaps`` is 0 below the lowest threshold. Heads and ``PseudoSampler`` do not
    read that; ``IoUBalancedNegSampler`` does.

    ``MaxIoUAssigner`` itself handles the unusual: half precision, boxes that are not
    finite, another ``iou_calculator``, ``perm_repeat_gt_cfg``, a ``pos_iou_thr`` of 0,
    ``gt_max_assign_all=False`` with low-quality matches, and, with a ``min_pos_iou`` of
    0, boxes that no prior overlaps.

    It takes the arguments of ``MaxIoUAssigner``, and does not need ``gpu_assign_thr``.
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

        Args:
            pred_instances: ``priors`` (P, 4), xyxy in pixels.
            gt_instances: ``bboxes`` (K, 4) and ``labels`` (K, ).
            gt_instances_ignore: ``bboxes`` (I, 4) to ignore.
            **kwargs: Not used, as in ``MaxIoUAssigner``.

        Returns:
            ``gt_inds`` (P, ), i + 1 for box i, 0 for background and -1 for neither;
            ``labels`` (P, ), -1 where no box is assigned; ``max_overlaps`` (P, ).
        """
        priors = get_box_tensor(pred_instances.priors)[:, :4]
        bboxes = get_box_tensor(gt_instances.bboxes)[:, :4]
        ignored = priors[:0]
        if gt_instances_ignore is not None:
            ignored = get_box_tensor(gt_instances_ignore.bboxes)[:, :4]
        result = None
        if not self._is_unusual(priors, bboxes, ignored):
            result = self._search(priors, bboxes, gt_instances.labels, ignored)
        if result is None:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore)
        return result

    def _is_unusual(self, priors: Tensor, bboxes: Tensor, ignored: Tensor) -> bool:
        """Whether only ``MaxIoUAssigner`` is right, or is faster."""
        return (
            len(priors) * len(bboxes) <= DENSE_PAIRS.get(priors.device.type, 1 << 24)
            or self.pos_iou_thr <= 0
            or not isinstance(self.neg_iou_thr, (float, tuple))
            or (self.match_low_quality and not self.gt_max_assign_all)
            or self.perm_repeat_gt_cfg is not None
            or type(self.iou_calculator) is not BboxOverlaps2D
            or self.iou_calculator.dtype == 'fp16'
            or any(boxes.dtype != torch.float32 for boxes in (priors, bboxes, ignored))
            # false for NaN, too
            or not all(
                boxes.abs().amax() < MAX_COORDINATE
                for boxes in (priors, bboxes, ignored)
                if len(boxes)
            )
        )

    def _search(
        self, priors: Tensor, bboxes: Tensor, labels: Tensor, ignored: Tensor
    ) -> AssignResult | None:
        """Match near pairs; None if a box without overlap claims a prior."""
        taken_out = find_ignored(self, priors, ignored)
        lower, upper = 0.0, self.neg_iou_thr
        if isinstance(upper, tuple):
            lower, upper = upper
        thresholds = [self.pos_iou_thr, lower, upper]
        low = min((t for t in thresholds if t > 0), default=self.pos_iou_thr)
        if self.match_low_quality:
            low = min(low, max(self.min_pos_iou, 0.0))

        # The best overlap of a prior and the first box that has it, in one integer:
        # positive floats sort as their bits do.
        best = torch.zeros(len(priors), dtype=torch.long, device=priors.device)
        of_boxes = bboxes.new_zeros(len(bboxes))
        for box, prior, overlap in self._pairs(bboxes, priors, taken_out, low):
            of_boxes.scatter_reduce_(0, box, overlap, 'amax')
            packed = (overlap.view(torch.int32).long() << 32) + len(bboxes) - box
            best.scatter_reduce_(0, prior, packed, 'amax')
        max_overlaps = (best >> 32).int().view(torch.float32)
        max_overlaps[taken_out] = -1

        gt_inds = torch.full_like(best, -1)
        gt_inds[(max_overlaps >= lower) & (max_overlaps < upper)] = 0
        positive = max_overlaps >= self.pos_iou_thr
        gt_inds[positive] = len(bboxes) + 1 - (best[positive] & 0xFFFFFFFF)
        if self.match_low_quality:
            if self.min_pos_iou <= 0 and bool((of_boxes <= 0).any()):
                return None
            claims = torch.zeros_like(gt_inds)
            claiming = of_boxes >= self.min_pos_iou
            for box, prior, overlap in self._pairs(bboxes, priors, taken_out, low):
                claimed = claiming[box] & (overlap == of_boxes[box])
                claims.scatter_reduce_(0, prior[claimed], box[claimed] + 1, 'amax')
            gt_inds = torch.where(claims > 0, claims, gt_inds)
        assigned_labels = torch.full_like(gt_inds, -1)
        assigned = gt_inds > 0
        assigned_labels[assigned] = labels[gt_inds[assigned] - 1].long()
        return AssignResult(len(bboxes), gt_inds, max_overlaps, assigned_labels)

    def _pairs(
        self, bboxes: Tensor, priors: Tensor, taken_out: Tensor, low: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, priors and overlaps (n, ) of the pairs that reach ``low``."""
        for box, prior in near_pairs(bboxes, priors, low, CHUNK_SIZE):
            overlap = self.iou_calculator(bboxes[box], priors[prior], is_aligned=True)
            found = (overlap >= low) & ~taken_out[prior]
            yield box[found], prior[found], overlap[found]


def find_ignored(assigner: MaxIoUAssigner, priors: Tensor, ignored: Tensor) -> Tensor:
    """Find the priors (P, ) that an assigner takes out of the matching.

    Args:
        assigner: Its ``ignore_iof_thr``, ``ignore_wrt_candidates`` and
            ``iou_calculator`` decide.
        priors: (P, 4), xyxy in pixels.
        ignored: Boxes to ignore, (I, 4).
    """
    found = torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
    if assigner.ignore_iof_thr <= 0:
        return found
    for box, prior in near_pairs(ignored, priors, 0.0, CHUNK_SIZE):
        pair = priors[prior], ignored[box]
        foreground, other = pair if assigner.ignore_wrt_candidates else pair[::-1]
        overlap = assigner.iou_calculator(
            foreground, other, mode='iof', is_aligned=True
        )
        found[prior[overlap > assigner.ignore_iof_thr]] = True
    return found
