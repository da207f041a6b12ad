"""How many positions the first step leaves: counted, or set without trained weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from ..models.dense_heads import SRNHead
from .replaced import replaced

CLUSTER_SIDES = (3.0, 9.0)
"""Diameters of the clusters in cells, as the first step leaves around a face (our
choice): from the smallest face of a level's anchors to one that belongs on the next."""


class SurvivingShare:
    """Counts the cells of the STC levels that the first step leaves.

    Attributes:
        cells (int): How many there were.
        left (int): How many were left, with at least one anchor.
    """

    def __init__(self) -> None:
        self.cells = self.left = 0

    @property
    def percent(self) -> float | None:
        """Percent of the cells; None before any was seen."""
        return 100 * self.left / self.cells if self.cells else None

    def add(self, keep: Tensor) -> None:
        """Count anchors (N, cells, A)."""
        self.cells += keep[..., 0].numel()
        self.left += int(keep.any(dim=-1).sum())


@contextmanager
def surviving_share(
    head: SRNHead, percent: float | None = None, seed: int = 0
) -> Iterator[SurvivingShare]:
    """Count what the first step leaves, and maybe say what it is.

    The first step is computed in any case, and its thresholding. With ``percent`` the
    result is replaced by clusters of cells, all of their anchors; what comes after
    sees no difference to a first step that left these.

    Args:
        head (SRNHead): The head.
        percent (float, optional): Of the cells of each STC level of each image, at
            least. Defaults to None, what the first step leaves.
        seed (int): Of the clusters. Defaults to 0.

    Yields:
        SurvivingShare: The counts, of all calls in the meantime.
    """
    count = SurvivingShare()
    survivors = head.survivors

    def noted(like: Tensor, first_scores: Tensor | None) -> Tensor:
        keep = survivors(like, first_scores)
        if first_scores is None:
            return keep
        if percent is not None:
            size = (len(like), *like.shape[-2:])
            cells = _clusters(size, percent / 100, seed).to(keep.device)
            keep = cells.flatten(1)[..., None].expand_as(keep)
        count.add(keep)
        return keep

    with replaced(head, 'survivors', noted):
        yield count


@cache
def _clusters(size: tuple[int, ...], share: float, seed: int) -> Tensor:
    number, height, width = size
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [clustered_cells(height, width, share, generator) for _ in range(number)]
    )


def clustered_cells(
    height: int, width: int, share: float, generator: torch.Generator
) -> Tensor:
    """Draw discs of cells until they are a share of a map.

    Args:
        height (int): Rows of the map.
        width (int): Columns.
        share (float): From 0 to 1. The last disc may go beyond it.
        generator (torch.Generator): Draws places and sizes.

    Returns:
        Tensor: Boolean (height, width).
    """
    cells = torch.zeros(height, width, dtype=torch.bool)
    ys, xs = torch.arange(height)[:, None], torch.arange(width)
    while int(cells.sum()) < share * height * width:
        y, x, grown = torch.rand(3, generator=generator).tolist()
        y, x = int(y * height), int(x * width)
        side = CLUSTER_SIDES[0] + grown * (CLUSTER_SIDES[1] - CLUSTER_SIDES[0])
        cells |= (ys - y) ** 2 + (xs - x) ** 2 <= side**2 / 4
    return cells
