"""Boxes sorted by size and place, to look up those near others."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Reach = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""One of the functions of ``reach``."""

CHUNK_SIZE = 1 << 16
"""Pairs at a time, our choice: more are no faster on a CPU."""

# Our choices; they change the speed only. Two bins of size per octave; the factor
# keeps powers of two, and what rounds to either side of them, in one bin.
BIN_FACTOR, BINS = 0.77, 128
# Cells per smallest width and height of a group. Rows are looked up one by one;
# within a row one bisects, so that columns may be fine.
CELLS_PER_BOX = (8.0, 2.0)
CELLS = 1 << 16  # limit along an axis

# Smaller ones have no area in float32.
MIN_SIZE = 1e-30
# float32 arithmetic changes an overlap by less than 1e-6 of it, and a centre by less
# than 2**-22 of it
OVERLAP_MARGIN, CENTRE_MARGIN = 1e-5, 2.0**-20


def candidate_rows(boxes: Tensor, others: Tensor, low: float = 0.0) -> Tensor:
    """Find the boxes that may overlap any of some others, at first glance.

    Args:
        boxes (Tensor): Shape (P, 4), xyxy in pixels, finite.
        others (Tensor): Shape (K, 4), the same, K > 0.
        low (float): Sizes may differ by the factor 1 / ``low``, as they may where
            IoU is to reach ``low``. Defaults to 0, by any.

    Returns:
        Tensor: Rows of ``boxes``, rising, none of them a box without area.
    """
    left, top, right, bottom = boxes.unbind(1)
    # type conversion may round the region
    slack = CENTRE_MARGIN * others.abs().amax()
    region = torch.cat([others[:, :2].amin(0) - slack, others[:, 2:].amax(0) + slack])
    region = region.to(boxes)
    width, height = right - left, bottom - top
    found = (width > 0) & (height > 0)
    found &= (right > region[0]) & (bottom > region[1])
    found &= (left < region[2]) & (top < region[3])
    if low > 0:
        low *= 1 - OVERLAP_MARGIN
        size = others[:, 2:] - others[:, :2]
        smallest, largest = size.amin(0) * low, size.amax(0) / low
        smallest, largest = smallest.to(boxes), largest.to(boxes)
        found &= (width >= smallest[0]) & (height >= smallest[1])
        found &= (width <= largest[0]) & (height <= largest[1])
    return found.nonzero().squeeze(1)


class BoxIndex:
    """Finds the boxes that may overlap others enough.

    The boxes are grouped by width and height, so that a grid's anchors of one size
    make one group. Within a group they are sorted by rows of cells, then from left
    to right, and what lies near a place is a few runs of the sorted list. Any set
    of boxes gives the right answer; regular ones give it fastest.

    Args:
        boxes (Tensor): Shape (P, 4), xyxy in pixels, finite.
        rows (Tensor): Rows of ``boxes`` that are to be found, shape (M, ), M > 0, each
            of positive width and height.
    """

    def __init__(self, boxes: Tensor, rows: Tensor) -> None:
        centre, size = _centre_and_size(boxes.index_select(0, rows))
        bins = _size_bins(size)
        counts = torch.bincount(bins, minlength=BINS * BINS)
        group = ((counts > 0).cumsum(0) - 1).index_select(0, bins)
        counts = counts[counts > 0]

        self.smallest, self.largest = _limits(size, group, len(counts))
        self.origin, end = _limits(centre, group, len(counts))
        # Never more rows than boxes: to look at all is then no more work than them.
        most = torch.stack([torch.full_like(counts, CELLS - 2), counts])
        self.cell = torch.maximum(
            self.smallest / size.new_tensor(CELLS_PER_BOX)[:, None],
            (end - self.origin) / most.clamp(max=CELLS - 2),
        )
        self.last = self._cells(end, torch.arange(len(counts), device=end.device))
        column, row = self._cells(centre, group)
        self.keys, order = ((group * CELLS + row) * CELLS + column).sort()
        self.rows = rows.index_select(0, order)

    def _cells(self, centre: Tensor, group: Tensor) -> Tensor:
        """Column and row (2, N) of points (2, N), each in the cells of a group.

        In float32 for boxes and queries alike, so that what lies farther right
        never gets a lower column.
        """
        cells = centre - self.origin.index_select(1, group)
        cells /= self.cell.index_select(1, group)
        return cells.floor_().clamp_(-1, CELLS).long()

    def search(
        self, boxes: Tensor, low: Tensor, reach: Reach, chunk_size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Look up what may overlap some boxes enough.

        Args:
            boxes (Tensor): Shape (K, 4), xyxy in pixels, finite.
            low (Tensor): Overlap to reach with each of them, shape (K, ).
            reach (Reach): Which kind of overlap.
            chunk_size (int): Greatest number of pairs at a time.

        Yields:
            tuple[Tensor, Tensor]: Rows of ``boxes`` and of the boxes that were
            indexed, each (N, ). Every pair that overlaps by ``low`` or more comes
            once, and others do, too.
        """
        centre, size = (t.double() for t in _centre_and_size(boxes))
        limits = self.smallest.double(), self.largest.double()
        low = low.double() * (1 - OVERLAP_MARGIN)
        rows = (boxes[:, :2] < boxes[:, 2:]).all(1).nonzero().squeeze(1)
        for some in rows.split(max(1, chunk_size // self.cell.shape[1])):
            distance = reach(low[some], size[:, some], *limits)
            box, group = (distance >= 0).all(0).nonzero().unbind(1)
            distance = distance[:, box, group]
            box = some[box]
            place = centre[:, box]
            distance += CENTRE_MARGIN * (distance + place.abs())
            first = self._cells((place - distance).float(), group).clamp_(min=0)
            last = self._cells((place + distance).float(), group)
            last = torch.minimum(last, self.last[:, group])
            inside = (first <= last).all(0).nonzero().squeeze(1)
            box, group = box[inside], group[inside]
            first, last = first[:, inside], last[:, inside]
            for run, row in expand(last[1] - first[1] + 1, chunk_size):
                key = (group[run] * CELLS + first[1][run] + row) * CELLS
                start = torch.searchsorted(self.keys, key + first[0][run])
                stop = torch.searchsorted(self.keys, key + last[0][run], right=True)
                for pair, offset in expand(stop - start, chunk_size):
                    yield box[run[pair]], self.rows[start[pair] + offset]


def expand(counts: Tensor, chunk_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Count from 0 for each of some counts.

    Args:
        counts (Tensor): How far, shape (N, ), integers from 0.
        chunk_size (int): How many numbers at a time.

    Yields:
        tuple[Tensor, Tensor]: Positions in ``counts``, rising, and for each position
        ``i`` the numbers from 0 to ``counts[i]`` without the latter.
    """
    total = int(counts.sum())
    if not total:
        return
    ends = counts.cumsum(0)
    starts = ends - counts
    cuts = range(0, total, chunk_size)
    heads = torch.searchsorted(ends, ends.new_tensor(cuts), right=True).tolist()
    for cut, head, tail in zip(cuts, heads, [*heads[1:], len(ends)], strict=True):
        stop = min(cut + chunk_size, total)
        part = slice(head, tail + 1)
        counted = ends[part].clamp(max=stop) - starts[part].clamp(min=cut)
        owner = torch.repeat_interleave(counted, output_size=stop - cut) + head
        numbers = torch.arange(cut, stop, device=counts.device)
        yield owner, numbers - starts.index_select(0, owner)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes (2, N) of boxes (N, 4), in float32; sizes above 0."""
    # column by column is faster than two at a time
    left, top, right, bottom = boxes.unbind(1)
    centre = torch.stack([left + right, top + bottom]) / 2
    size = torch.stack([right - left, bottom - top])
    return centre.float(), size.float().clamp_(min=MIN_SIZE)


def _limits(values: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Least and greatest (2, G) in each group, of values (2, N)."""
    least = values.new_full((2, num_groups), torch.inf)
    greatest = -least
    for axis in range(2):
        least[axis].scatter_reduce_(0, group, values[axis], 'amin')
        greatest[axis].scatter_reduce_(0, group, values[axis], 'amax')
    return least, greatest


def _size_bins(size: Tensor) -> Tensor:
    """Bins (N, ) of widths and heights (2, N)."""
    # Read as an integer, a float32 counts octaves from -127, then shares of one.
    bins = ((size * BIN_FACTOR).view(torch.int32) >> 22) - (2 * 127 - BINS // 2)
    bins = bins.clamp_(0, BINS - 1).long()
    return bins[0] * BINS + bins[1]
