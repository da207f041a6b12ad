"""Best overlaps of boxes that lie near each other, by looking nowhere else."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .box_index import BoxIndex, candidate_rows
from .reach import iou_reach

# Our choice: a box whose best overlap is below ``low`` is looked up again for this
# fraction of it, and so on; below the second number, for any overlap.
FRACTION, SMALL = 0.25, 1e-4


class NearOverlaps:
    """Best IoU between boxes and priors, from the pairs that may reach it.

    What ``DenseOverlaps`` gives, where that is ``low`` or more.

    Args:
        calculator (Callable): Gives the IoU (N, ) of pairs.
        bboxes (Tensor): Shape (K, 4), xyxy in pixels, K > 0, finite.
        priors (Tensor): Shape (P, 4), P > 0, finite.
        ignored (Tensor, optional): Boolean (P, ), priors whose overlaps are all -1.
        chunk_size (int): Greatest number of pairs at a time.
        low (float): Least overlap that matters, from 0.
        with_claims (bool): Whether ``claims`` is going to be asked.
    """

    def __init__(
        self,
        calculator: Callable[..., Tensor],
        bboxes: Tensor,
        priors: Tensor,
        ignored: Tensor | None,
        chunk_size: int,
        low: float,
        with_claims: bool,
    ) -> None:
        self.calculator = calculator
        self.bboxes = bboxes
        self.priors = priors
        self.ignored = ignored
        self.chunk_size = chunk_size
        self.low = low
        self.dtype = torch.promote_types(bboxes.dtype, priors.dtype)
        # the best prior of a box may be of any size
        rows = candidate_rows(priors, bboxes, 0.0 if with_claims else low)
        if ignored is not None:
            rows = rows[~ignored[rows]]
        self.index = BoxIndex(priors, rows) if len(rows) else None

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """Find the best overlaps.

        Returns:
            tuple[Tensor, Tensor, Tensor]: The best overlap of each prior (P, ), the
            first box that has it (P, ), and the best overlap of each box (K, ).
            Overlaps below ``low`` read 0, those of ignored priors -1; there the
            box means nothing.
        """
        of_priors = self.priors.new_zeros(len(self.priors), dtype=self.dtype)
        of_boxes = self.bboxes.new_zeros(len(self.bboxes), dtype=self.dtype)
        none = len(self.bboxes)
        argmax = torch.full_like(of_priors, none, dtype=torch.long)
        for box, prior, overlap in self._pairs(torch.full_like(of_boxes, self.low)):
            # Maxima and minima: the order in which a GPU takes the pairs, or the
            # chunks come, changes nothing.
            of_boxes.scatter_reduce_(0, box, overlap, 'amax')
            before = of_priors.index_select(0, prior)
            of_priors.scatter_reduce_(0, prior, overlap, 'amax')
            after = of_priors.index_select(0, prior)
            argmax[prior[after > before]] = none
            is_best = overlap == after
            argmax.scatter_reduce_(0, prior[is_best], box[is_best], 'amin')
        if self.ignored is not None:
            of_priors.masked_fill_(self.ignored, -1)
            of_boxes -= self.ignored.all().to(of_boxes)
        return of_priors, argmax, of_boxes

    def claims(self, of_boxes: Tensor, min_overlap: float, claim_all: bool) -> Tensor:
        """Find which priors are the best of a box.

        Args:
            of_boxes (Tensor): See ``best``.
            min_overlap (float): Boxes whose best overlap is less claim nothing.
            claim_all (bool): Whether a box claims all priors that have its best
                overlap, or the first of them.

        Returns:
            Tensor: The last box that claims the prior, counted from 1, or 0;
            shape (P, ).
        """
        of_boxes = self._complete(of_boxes.clone(), min_overlap)
        boxes = (of_boxes >= min_overlap).nonzero().squeeze(1)
        positive = of_boxes[boxes] > 0
        claims = boxes.new_zeros(len(self.priors))
        first = torch.full_like(of_boxes, len(claims), dtype=torch.long)
        for box, prior, _ in self._pairs(of_boxes, boxes[positive]):
            if claim_all:
                claims.scatter_reduce_(0, prior, box + 1, 'amax')
            else:
                first.scatter_reduce_(0, box, prior, 'amin')

        others = boxes[~positive]
        if len(others):
            # Their best, 0 or -1, is what all priors have but ignored ones, or all.
            equal = torch.ones_like(claims, dtype=torch.bool)
            if self.ignored is not None:
                equal = ~self.ignored | self.ignored.all()
            if claim_all:
                claims = torch.maximum(claims, equal * (others[-1] + 1))
            else:
                first[others] = equal.nonzero()[0]
        if not claim_all:
            claims.scatter_reduce_(0, first[boxes], boxes + 1, 'amax')
        return claims

    def _complete(self, of_boxes: Tensor, min_overlap: float) -> Tensor:
        """Find the best overlaps between ``min_overlap`` and ``low``, too."""
        low, lowest = self.low, max(min_overlap, 0.0)
        while low > lowest:
            missing = (of_boxes <= 0).nonzero().squeeze(1)
            if not len(missing):
                break
            low = max(low * FRACTION if low > SMALL else 0.0, lowest)
            for box, _, overlap in self._pairs(torch.full_like(of_boxes, low), missing):
                of_boxes.scatter_reduce_(0, box, overlap, 'amax')
        return of_boxes

    def _pairs(
        self, low: Tensor, boxes: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, priors and overlaps (N, ) of the pairs that reach ``low`` (K, )."""
        if self.index is None:
            return
        if boxes is None:
            boxes = torch.arange(len(low), device=low.device)
        for row, prior in self.index.search(
            self.bboxes[boxes], low[boxes], iou_reach, self.chunk_size
        ):
            box = boxes.index_select(0, row)
            overlap = self.calculator(
                self.bboxes.index_select(0, box),
                self.priors.index_select(0, prior),
                is_aligned=True,
            )
            rows = (overlap >= low.index_select(0, box)).nonzero().squeeze(1)
            yield (
                box.index_select(0, rows),
                prior.index_select(0, rows),
                overlap.index_select(0, rows),
            )
