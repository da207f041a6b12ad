import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps

import mmdet_srn  # noqa: F401
from mmdet_srn.models.task_modules.assigners.box_index import (
    CELLS,
    BoxIndex,
    candidate_rows,
    expand,
)
from mmdet_srn.models.task_modules.assigners.reach import iou_reach


def boxes_of(centre, size):
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def random_boxes(number, generator, octaves=6, spread=300.0):
    size = torch.exp2(torch.rand(number, 2, generator=generator) * octaves)
    return boxes_of(torch.randn(number, 2, generator=generator) * spread, size)


def found(index, queries, low, chunk_size=1000):
    low = torch.full((len(queries),), low)
    pairs = list(index.search(queries, low, iou_reach, chunk_size))
    assert all(len(query) <= chunk_size for query, _ in pairs)
    pairs = [torch.stack(pair, dim=1) for pair in pairs] or [torch.zeros(0, 2)]
    return [tuple(pair) for pair in torch.cat(pairs).tolist()]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(1, 300),
    octaves=st.sampled_from([0, 1, 6, 25]),
    spread=st.sampled_from([0.0, 10.0, 300.0, 1e6]),
    low=st.sampled_from([0.0, 1e-3, 0.3, 0.7, 1.0]),
    chunk_size=st.sampled_from([1000, 7]),
)
def test_finds_all_that_overlap_enough(seed, number, octaves, spread, low, chunk_size):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(number, generator, octaves, spread)
    queries = torch.cat([random_boxes(20, generator, octaves, spread), boxes[:3]])
    pairs = found(BoxIndex(boxes, torch.arange(number)), queries, low, chunk_size)
    assert len(set(pairs)) == len(pairs)
    overlaps = bbox_overlaps(queries, boxes)
    wanted = ((overlaps >= low) & (overlaps > 0)).nonzero().tolist()
    assert {tuple(pair) for pair in wanted} <= set(pairs)


def test_looks_at_little_else():
    """On SRN's grid, of the pairs looked at a fair share reaches the threshold."""
    generator = TASK_UTILS.build(dict(type='SRNAnchorGenerator'))
    sizes = [(256 // w, 256 // w) for w, _ in generator.strides]
    anchors = torch.cat(generator.grid_priors(sizes, device='cpu'))
    queries = anchors[::97] + 1.5
    index = BoxIndex(anchors, torch.arange(len(anchors)))
    assert index.cell.shape[1] == 12  # a group for each size
    wanted = (bbox_overlaps(queries, anchors) >= 0.3).sum()
    assert len(found(index, queries, 0.3)) < 4 * wanted


def test_only_the_rows_given():
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(5, 1)
    index = BoxIndex(boxes, torch.tensor([1, 4]))
    assert sorted(found(index, boxes[:1], 0.5)) == [(0, 1), (0, 4)]


def test_never_more_rows_than_boxes():
    """Else a search for any overlap with a giant would read millions of them."""
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(200, generator, octaves=1, spread=1e7)
    index = BoxIndex(boxes, torch.arange(200))
    assert (index.last[1] + 1).sum() <= 200 + 2 * index.last.shape[1]
    assert (index.last < CELLS).all()


def test_sizes_that_differ_by_rounding_make_one_group():
    """Far from the origin, corners of anchors round."""
    size = torch.full((100, 2), 16.0)
    centre = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 5000
    boxes = boxes_of(centre, size)
    assert len((boxes[:, 2] - boxes[:, 0]).unique()) > 1
    assert BoxIndex(boxes, torch.arange(100)).cell.shape[1] == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    low=st.sampled_from([0.0, 0.1, 0.5]),
    double=st.booleans(),
)
def test_candidate_rows(seed, low, double):
    """Drops none that overlaps enough, and keeps none without area."""
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(200, generator)
    boxes[::9, 2] = boxes[::9, 0]
    boxes[::11] = boxes[::11][:, [2, 3, 0, 1]]
    others = random_boxes(4, generator, 3, 50.0)
    others = others.double() if double else others
    rows = candidate_rows(boxes, others, low)
    assert torch.equal(rows, rows.unique())
    overlaps = bbox_overlaps(boxes, others).amax(dim=1)
    wanted = ((overlaps >= low) & (overlaps > 0)).nonzero().squeeze(1)
    assert torch.isin(wanted, rows).all()
    assert (boxes[rows, :2] < boxes[rows, 2:]).all()
    assert len(rows) < len(boxes)


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 5), max_size=8), chunk_size=st.integers(1, 12))
def test_expand(counts, chunk_size):
    parts = list(expand(torch.tensor(counts, dtype=torch.long), chunk_size))
    assert all(0 < len(owner) <= chunk_size for owner, _ in parts)
    pairs = [
        pair for part in parts for pair in zip(*(t.tolist() for t in part), strict=True)
    ]
    assert pairs == [(i, n) for i, count in enumerate(counts) for n in range(count)]
