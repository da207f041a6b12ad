"""Cells that survive the first step: counted, or set without trained weights."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from unittest.mock import patch

import torch
from torch import Tensor

from ..models.dense_heads import QuerySRNHead, SRNHead
from ..models.dense_heads.query_branch import grow
from ..models.sparse.deferred_map import DeferredMap

#: Diameters of clusters in cells, as around a face (our choice): from the smallest face
#: of a level to one that belongs on the next.
CLUSTER_SIDES = (3.0, 9.0)


@contextmanager
def survivors(
    head: SRNHead, percent: float | None, count: Counter[str]
) -> Iterator[None]:
    """Count what survives the first step, and optionally set it.

    The first step and its threshold are computed in any case. With ``percent``, their
    result is replaced: in each STC level and image, at least that percentage of cells
    survives, in clusters and with all anchors; a ``QuerySRNHead``'s branch is computed
    and has chosen these and two cells around them. ``count`` gets the number of 'cells'
    of the STC levels, and of those 'left' with at least one anchor.
    """
    stock = head.survivors

    def counted(like: Tensor, first_scores: Tensor | None) -> Tensor:
        keep = stock(like, first_scores)  # (N, H * W, A)
        if first_scores is None:
            return keep
        if percent is not None:
            size = (len(like), *like.shape[-2:])
            cells = _batch_of_clusters(size, percent / 100).to(keep.device)
            keep = cells.flatten(1)[..., None].expand_as(keep)
        count.update(cells=keep[..., 0].numel(), left=int(keep.any(dim=-1).sum()))
        return keep

    with ExitStack() as patches:
        patches.enter_context(patch.object(head, 'survivors', counted))
        if percent is not None and isinstance(head, QuerySRNHead):
            choose = head.choose

            def chosen(x: Sequence[Tensor | DeferredMap]) -> dict[int, Tensor]:
                return {
                    level: grow(
                        _batch_of_clusters(tuple(cells.shape), percent / 100), 2
                    ).to(cells.device)
                    for level, cells in choose(x).items()
                }

            patches.enter_context(patch.object(head, 'choose', chosen))
        yield


@cache
def _batch_of_clusters(size: tuple[int, ...], share: float) -> Tensor:
    number, height, width = size
    generator = torch.Generator().manual_seed(0)
    maps = [clustered_cells(height, width, share, generator) for _ in range(number)]
    return torch.stack(maps)


def clustered_cells(
    height: int, width: int, share: float, generator: torch.Generator
) -> Tensor:
    """Draw discs until they cover a share (from 0 to 1) of a map's cells, or more.

    Returns:
        Boolean (height, width).
    """
    cells = torch.zeros(height, width, dtype=torch.bool)
    ys, xs = torch.arange(height)[:, None], torch.arange(width)
    while int(cells.sum()) < share * height * width:
        y, x, grown = torch.rand(3, generator=generator).tolist()
        y, x = int(y * height), int(x * width)
        side = CLUSTER_SIDES[0] + grown * (CLUSTER_SIDES[1] - CLUSTER_SIDES[0])
        cells |= (ys - y) ** 2 + (xs - x) ** 2 <= side**2 / 4
    return cells
