"""Best overlaps of any boxes, from the whole matrix, part by part."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


class DenseOverlaps:
    """Best overlaps between boxes and priors, by computing every overlap.

    Takes what ``NearOverlaps`` cannot: other kinds of overlap, coarse arithmetic,
    boxes that are not finite. As slow as mmdet's assigner, in bounded memory.

    Args:
        calculator (Callable): Gives the overlaps (K, N) of boxes and priors.
        bboxes (Tensor): Shape (K, 4), xyxy in pixels, K > 0.
        priors (Tensor): Shape (P, 4), P > 0.
        ignored (Tensor, optional): Boolean (P, ), priors whose overlaps are all -1.
        chunk_size (int): Greatest number of overlaps at a time, but at least K.
    """

    def __init__(
        self,
        calculator: Callable[..., Tensor],
        bboxes: Tensor,
        priors: Tensor,
        ignored: Tensor | None,
        chunk_size: int,
    ) -> None:
        self.calculator = calculator
        self.bboxes = bboxes
        self.priors = priors
        self.ignored = ignored
        self.step = max(1, chunk_size // len(bboxes))

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """Find the best overlaps.

        Returns:
            tuple[Tensor, Tensor, Tensor]: The best overlap of each prior (P, ), the
            first box that has it (P, ), and the best overlap of each box (K, ).
        """
        of_priors, argmax, of_boxes = [], [], None
        for _, overlaps in self._parts():
            values, indices = overlaps.max(dim=0)
            of_priors.append(values)
            argmax.append(indices)
            values = overlaps.amax(dim=1)
            of_boxes = values if of_boxes is None else torch.maximum(of_boxes, values)
        return torch.cat(of_priors), torch.cat(argmax), of_boxes

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
        claims = torch.zeros(len(self.priors), dtype=torch.long, device=of_boxes.device)
        boxes = (of_boxes >= min_overlap).nonzero().squeeze(1)
        if not len(boxes):
            return claims
        wanted, numbers = of_boxes[boxes, None], boxes + 1
        first = torch.full_like(boxes, len(self.priors))
        for places, overlaps in self._parts():
            is_best = overlaps[boxes] == wanted
            if claim_all:
                claims[places] = (is_best * numbers[:, None]).amax(dim=0)
            else:
                found = torch.where(is_best, places, len(self.priors))
                first = torch.minimum(first, found.amin(dim=1))
        if claim_all:
            return claims
        return claims.scatter_reduce_(0, first, numbers, 'amax')

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of some priors, and the overlaps (K, N) of all boxes with them."""
        places = torch.arange(len(self.priors), device=self.priors.device)
        for part in places.split(self.step):
            overlaps = self.calculator(self.bboxes, self.priors[part])
            if self.ignored is not None:
                overlaps = overlaps.masked_fill(self.ignored[part], -1)
            yield part, overlaps
