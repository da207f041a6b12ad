"""Pairs of boxes and priors that may overlap enough, without comparing all."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Our choices; they change the speed only.
CELLS_PER_OCTAVE = 4  # cells along a prior of its group's largest size
CELLS = 1024  # at most, along an axis of a group

# More than what float32 arithmetic may add to an overlap
MARGIN = 1e-5


def near_pairs(
    bboxes: Tensor, priors: Tensor, low: float, chunk_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Find the pairs whose IoU may reach ``low``.

    Two boxes' IoU is at most that of their projections on an axis. Of lengths ``w``
    and ``g`` with centres ``d`` apart, that is at most ``min(w, g) / max(w, g)`` and
    at most ``(a - d) / (a + d)`` with ``a = (w + g) / 2``. So the priors are grouped
    by octaves of width and height, each group is sorted by cells, and a box is
    compared with the cells in reach.

    Args:
        bboxes: (K, 4), xyxy in pixels, finite.
        priors: (P, 4), the same.
        low: Least IoU, from 0 to 1; with 0, all that overlap.
        chunk_size: Largest number of pairs at a time.

    Yields:
        Rows of ``bboxes`` and of ``priors``, each (n, ). Every pair that overlaps and
        reaches ``low`` comes once; some others come, too.
    """
    low = low * (1 - MARGIN)
    box_rows, box_centre, box_size = _centre_and_size(bboxes)
    prior_rows, centre, size = _centre_and_size(priors)
    if not len(box_rows) or not len(prior_rows):
        return
    # Groups, (M, ): octaves of width and height, numbered without gaps
    octave = size.frexp().exponent.long()
    octave -= octave.amin(dim=1, keepdim=True)
    group = octave[0] * (octave[1].amax() + 1) + octave[1]
    is_used = torch.bincount(group) > 0
    group = (is_used.cumsum(0) - 1)[group]
    num_groups = int(is_used.sum())
    smallest, largest = _limits(size, group, num_groups)  # (2, G)
    origin, end = _limits(centre, group, num_groups)
    cell = torch.maximum(largest / CELLS_PER_OCTAVE, (end - origin) / (CELLS - 1))

    def cells(points: Tensor, group: Tensor) -> Tensor:
        # (2, n) points in pixels to columns and rows of their groups
        return ((points - origin[:, group]) / cell[:, group]).floor().long()

    column, row = cells(centre, group)
    keys, order = ((group * CELLS + row) * CELLS + column).sort()
    prior_rows = prior_rows[order]

    # Groups of a size, and then of a place, that lets the overlap reach low: (K, G)
    sizes = box_size[:, :, None]  # (2, K, 1)
    fits = (largest[:, None] >= low * sizes) & (low * smallest[:, None] <= sizes)
    box, group = fits.all(dim=0).nonzero().unbind(1)
    reach = (largest[:, group] + box_size[:, box]) / 2 * ((1 - low) / (1 + low))
    first = cells(box_centre[:, box] - reach, group).clamp(min=0)
    last = cells(box_centre[:, box] + reach, group)
    last = torch.minimum(last, cells(end, torch.arange(num_groups).to(group))[:, group])
    near = (first <= last).all(dim=0)
    box, group, first, last = box[near], group[near], first[:, near], last[:, near]

    for run, row in _count(last[1] - first[1] + 1, chunk_size):
        key = (group[run] * CELLS + first[1, run] + row) * CELLS
        start = torch.searchsorted(keys, key + first[0, run])
        stop = torch.searchsorted(keys, key + last[0, run], right=True)
        for pair, place in _count(stop - start, chunk_size):
            yield box_rows[box[run[pair]]], prior_rows[start[pair] + place]


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (M, ) of the boxes that have an area, their centres and sizes (2, M)."""
    left, top, right, bottom = boxes.double().unbind(1)
    size = torch.stack([right - left, bottom - top])
    centre = torch.stack([left + right, top + bottom]) / 2
    rows = ((size > 0) & (size < torch.inf)).all(dim=0).nonzero().squeeze(1)
    if len(rows) < len(boxes):
        centre, size = centre[:, rows], size[:, rows]
    return rows, centre, size


def _limits(values: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Least and greatest (2, G) in each group, of values (2, M)."""
    group = group.expand_as(values)
    least = values.new_full((2, num_groups), torch.inf)
    return (
        least.scatter_reduce(1, group, values, 'amin'),
        (-least).scatter_reduce(1, group, values, 'amax'),
    )


def _count(counts: Tensor, chunk_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Count from 0 for each of ``counts`` (N, ), ``chunk_size`` numbers at a time.

    Yields:
        Positions in ``counts``, rising, and for each position ``i`` the numbers from 0
        to ``counts[i] - 1``.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, chunk_size):
        number = torch.arange(start, min(start + chunk_size, total)).to(ends)
        owner = torch.searchsorted(ends, number, right=True)
        yield owner, number - (ends - counts)[owner]
