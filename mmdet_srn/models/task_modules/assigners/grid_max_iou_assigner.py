"""Matching by IoU, computed only where a prior can reach a threshold."""

from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.assigners.max_iou_assigner import perm_repeat_bboxes
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .box_index import CHUNK_SIZE
from .dense_overlaps import DenseOverlaps
from .ignored_priors import find_ignored
from .near_overlaps import NearOverlaps
from .reach import bounds_hold


@TASK_UTILS.register_module()
class GridMaxIoUAssigner(MaxIoUAssigner):
    """``MaxIoUAssigner`` for many anchors and many boxes.

    Of the same arguments it gives what mmdet's gives, without the matrix of all
    overlaps: the priors are sorted by size and place, and each box is compared with
    those near it whose size allows the lowest threshold. It needs to know nothing
    but the priors, so it serves any head. It is fastest where they have few sizes,
    as those of a grid, or of a part of one, do. Under ``match_low_quality`` a box
    that reaches no threshold looks farther, until it has found its best prior.

    Memory grows with priors plus boxes, not with their product. Priors and boxes
    that are not finite, half precision, another ``iou_calculator`` than
    ``BboxOverlaps2D`` and a ``pos_iou_thr`` of 0 are computed in full, some priors
    at a time.

    ``gt_inds`` and ``labels`` are always those of ``MaxIoUAssigner``. So is
    ``max_overlaps`` where it is at least ``exact_from``, and on ignored priors (-1).
    On other priors, which no box brings to a threshold, it reads 0 as a rule. Heads
    and ``PseudoSampler`` do not look there; ``IoUBalancedNegSampler`` does, and
    needs ``exact_from=0``.

    Args:
        *args (Any): As ``MaxIoUAssigner``.
        chunk_size (int): Greatest number of pairs whose overlaps are computed at a
            time, each of which takes up to 300 bytes. Defaults to 65,536 (our
            choice).
        exact_from (float, optional): Least overlap that ``max_overlaps`` has to
            report; above the lowest threshold it makes no difference. Defaults to
            None, that threshold.
        **kwargs (Any): As ``MaxIoUAssigner``.

    Raises:
        ValueError: If ``chunk_size`` is not positive, or ``exact_from`` negative.
    """

    def __init__(
        self,
        *args: Any,
        chunk_size: int = CHUNK_SIZE,
        exact_from: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if chunk_size < 1:
            raise ValueError(f'chunk_size must be positive, got {chunk_size}')
        if exact_from is not None and exact_from < 0:
            raise ValueError(f'exact_from must not be negative, got {exact_from}')
        self.chunk_size = chunk_size
        self.exact_from = exact_from

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign a box, background or neither to each prior.

        Args:
            pred_instances (InstanceData): ``priors`` (P, 4), xyxy in pixels.
            gt_instances (InstanceData): ``bboxes`` (K, 4) and ``labels`` (K, ).
            gt_instances_ignore (InstanceData, optional): ``bboxes`` (I, 4) to
                ignore. Defaults to None.
            **kwargs (Any): Not used, as in ``MaxIoUAssigner``.

        Returns:
            AssignResult: ``gt_inds`` (P, ), i + 1 for box i, 0 for background and -1
            for neither; ``labels`` (P, ), -1 but for boxes; ``max_overlaps`` (P, ).
        """
        if not len(gt_instances.bboxes) or not len(pred_instances.priors):
            # Without boxes ignored ones make no difference.
            return super().assign(pred_instances, gt_instances)
        priors = get_box_tensor(pred_instances.priors)[:, :4]
        bboxes = get_box_tensor(gt_instances.bboxes)[:, :4]
        ignored = priors[:0]
        if gt_instances_ignore is not None:
            ignored = get_box_tensor(gt_instances_ignore.bboxes)[:, :4]
        labels, device = gt_instances.labels, priors.device
        if 0 < self.gpu_assign_thr < len(bboxes):
            priors, bboxes, ignored, labels = (
                t.cpu() for t in (priors, bboxes, ignored, labels)
            )
        if self.perm_repeat_gt_cfg is not None:
            bboxes = perm_repeat_bboxes(
                bboxes, self.iou_calculator, self.perm_repeat_gt_cfg
            )
        result = self._match(priors, bboxes, labels, ignored)
        for name in ('gt_inds', 'max_overlaps', 'labels'):
            setattr(result, name, getattr(result, name).to(device))
        return result

    def _match(
        self, priors: Tensor, bboxes: Tensor, labels: Tensor, ignored: Tensor
    ) -> AssignResult:
        taken_out = None
        if self.ignore_iof_thr > 0 and len(ignored):
            taken_out = find_ignored(
                priors,
                ignored,
                self.ignore_iof_thr,
                self.ignore_wrt_candidates,
                self.iou_calculator,
                self.chunk_size,
            )
        pairs = self.iou_calculator, bboxes, priors, taken_out, self.chunk_size
        if self.pos_iou_thr > 0 and bounds_hold(self.iou_calculator, bboxes, priors):
            overlaps = NearOverlaps(*pairs, self._lowest(), self.match_low_quality)
        else:
            overlaps = DenseOverlaps(*pairs)
        max_overlaps, argmax_overlaps, of_bboxes = overlaps.best()

        lower, upper = self._negative_range()
        negative = (max_overlaps >= lower) & (max_overlaps < upper)
        gt_inds = negative.long() - 1
        positive = (max_overlaps >= self.pos_iou_thr).nonzero().squeeze(1)
        gt_inds[positive] = argmax_overlaps[positive] + 1
        if self.match_low_quality:
            claims = overlaps.claims(
                of_bboxes, self.min_pos_iou, self.gt_max_assign_all
            )
            claimed = claims.nonzero().squeeze(1)
            gt_inds[claimed] = claims[claimed]
        assigned = (gt_inds > 0).nonzero().squeeze(1)
        assigned_labels = torch.full_like(gt_inds, -1)
        assigned_labels[assigned] = labels.long()[gt_inds[assigned] - 1]
        return AssignResult(len(bboxes), gt_inds, max_overlaps, assigned_labels)

    def _negative_range(self) -> tuple[float, float]:
        """From which overlap to below which a prior is background."""
        if isinstance(self.neg_iou_thr, float):
            return 0.0, self.neg_iou_thr
        if isinstance(self.neg_iou_thr, tuple):
            lower, upper = self.neg_iou_thr
            return lower, upper
        return 0.0, 0.0  # mmdet ignores a threshold of another type

    def _lowest(self) -> float:
        """The overlap from which on results are exact."""
        thresholds = (self.pos_iou_thr, *self._negative_range())
        lowest = min(threshold for threshold in thresholds if threshold > 0)
        return lowest if self.exact_from is None else min(lowest, self.exact_from)
