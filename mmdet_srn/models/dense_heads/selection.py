"""Which anchors become candidates for NMS, by ``test_cfg``."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..sparse.level_outputs import LevelOutputs


class Selection(NamedTuple):
    """The rules, for the head and for an exported graph.

    Attributes:
        score_thr: Scores must be above it.
        small_map_cells: On levels of fewer cells ...
        small_map_score_thr: ... scores must be above this one instead.
        nms_pre: Number of best candidates of each level; all if not positive.
        max_before_nms: The same of all levels together.
        iou_alpha: How much the class counts beside the IoU (see ``combine_scores``);
            None where no IoU is predicted.
    """

    score_thr: float = 0.0
    small_map_cells: int = 0
    small_map_score_thr: float = 0.0
    nms_pre: int = -1
    max_before_nms: int = -1
    iou_alpha: float | None = None

    @classmethod
    def from_test_cfg(cls, test_cfg: Mapping[str, Any]) -> 'Selection':
        """Read a head's ``test_cfg``."""
        score_thr = float(test_cfg.get('score_thr', 0))
        return cls(
            score_thr=score_thr,
            small_map_cells=int(test_cfg.get('small_map_cells', 0)),
            small_map_score_thr=float(test_cfg.get('small_map_score_thr', score_thr)),
            nms_pre=int(test_cfg.get('nms_pre', -1)),
            max_before_nms=int(test_cfg.get('max_before_nms', -1)),
        )

    @property
    def max_per_level(self) -> int:
        """Number of best candidates to keep of a level; all if not positive."""
        # No level alone needs more than all of them together.
        limits = [n for n in (self.nms_pre, self.max_before_nms) if n > 0]
        return min(limits, default=-1)

    def threshold(self, cells: int | Tensor) -> float | Tensor:
        """Score threshold of a level; a tensor if its number of cells is one."""
        if self.small_map_cells <= 0:
            return self.score_thr
        small, other = self.small_map_score_thr, self.score_thr
        if isinstance(cells, Tensor):
            return torch.where(cells < self.small_map_cells, small, other)
        return small if cells < self.small_map_cells else other


def combine_scores(scores: Tensor, iou_logits: Tensor, alpha: float) -> Tensor:
    """Rate boxes by class and IoU: ``score ** (2 alpha) * iou ** (2 - 2 alpha)``.

    The formula is that of TinaFace's code. With an IoU of 1 it is at its highest,
    ``score ** (2 alpha)``.

    Args:
        scores: Class scores, any shape.
        iou_logits: The predicted IoU before the sigmoid, the same shape.
        alpha: In (0, 1].
    """
    return scores.pow(2 * alpha) * iou_logits.sigmoid().pow(2 - 2 * alpha)


def select_candidates(
    levels: Sequence[LevelOutputs], image: int, selection: Selection
) -> InstanceData:
    """Select the candidates of one image, of all levels.

    Returns:
        ``scores``, ``labels``, ``levels`` and ``priors``, the anchor's number in its
        level; each (n, ).
    """
    found = []
    for number, level in enumerate(levels):
        priors, logits = level.survivors(image)
        scores = logits.sigmoid()  # (survivors, C)
        height, width = level.size
        threshold = selection.threshold(height * width)
        alpha = selection.iou_alpha
        highest = scores if alpha is None else scores.pow(2 * alpha)
        rows, labels = (highest > threshold).nonzero(as_tuple=True)
        scores, priors = scores[rows, labels], priors[rows]  # (n, )
        if alpha is not None:
            scores = combine_scores(scores, level.read_ious(image, priors), alpha)
            rows = scores > threshold
            scores, labels, priors = scores[rows], labels[rows], priors[rows]
        own = InstanceData(
            scores=scores,
            labels=labels,
            priors=priors,
            levels=torch.full_like(priors, number),
        )
        found.append(_best(own, selection.max_per_level))
    return _best(InstanceData.cat(found), selection.max_before_nms)


def _best(candidates: InstanceData, number: int) -> InstanceData:
    """Keep the ``number`` best scores; all if not positive."""
    if number <= 0 or len(candidates) <= number:
        return candidates
    return candidates[candidates.scores.topk(number).indices]
