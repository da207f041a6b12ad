import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps

from mmdet_srn.models.task_modules.assigners.reach import (
    bounds_hold,
    covered_reach,
    iof_reach,
    iou_reach,
)


def overlap(kind, distance, size, other):
    """Overlap, in float64, of a box at 0 and another at the given distance."""
    corners = [
        torch.cat([centre - side / 2, centre + side / 2])[None]
        for centre, side in ((torch.zeros_like(distance), size), (distance, other))
    ]
    if kind is iof_reach:
        corners.reverse()
    mode = 'iou' if kind is iou_reach else 'iof'
    return bbox_overlaps(*corners, mode=mode, is_aligned=True, eps=0)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


side = st.floats(1, 1000)
pair = st.tuples(side, side)
kinds = pytest.mark.parametrize('kind', [iou_reach, iof_reach, covered_reach])


@kinds
@settings(max_examples=300, deadline=None)
@given(
    size=pair,
    limits=st.tuples(pair, pair),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    near=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
)
def test_no_pair_lies_beyond(kind, size, limits, at, near):
    """Whatever overlap a pair has, its distance is within the bound for it."""
    size, at, near = doubles(*size), doubles(*at), doubles(*near)
    smallest, largest = doubles(*limits).sort(dim=0).values
    other = smallest + at * (largest - smallest)
    distance = near * (size + other)
    low = overlap(kind, distance, size, other)
    if low > 0:
        low *= 1 - 1e-9  # rounding, for which BoxIndex allows as well
        reach = kind(low, size[:, None], smallest[:, None], largest[:, None])
        slack = 1e-9 * (size + largest)
        assert (distance.abs() <= reach[:, 0, 0] + slack).all()


@kinds
@settings(max_examples=100, deadline=None)
@given(size=pair, other=pair, low=st.floats(0.05, 0.95), axis=st.integers(0, 1))
def test_bound_is_reached(kind, size, other, low, axis):
    """One size in the group: just within overlaps enough, just beyond does not."""
    size, other = doubles(*size), doubles(*other)
    reach = kind(doubles(low), size[:, None], other[:, None], other[:, None])[:, 0, 0]
    concentric = overlap(kind, torch.zeros_like(size), size, other).item()
    if concentric < low * (1 - 1e-9):
        assert (reach < 0).all()
    elif concentric > low * (1 + 1e-9):
        distance = torch.zeros_like(size)
        distance[axis] = reach[axis] * (1 + 1e-6) + 1e-6
        assert overlap(kind, distance, size, other) < low
        # Nearer, but no nearer than where the shorter side is all within.
        inner = (size - other).abs()[axis] / 2
        distance[axis] = torch.maximum(reach[axis] * (1 - 1e-6) - 1e-6, inner)
        assert reach[axis] >= inner * (1 - 1e-9)
        if distance[axis] < reach[axis]:
            assert overlap(kind, distance, size, other) >= low * (1 - 1e-9)


def test_any_overlap_is_any_touch():
    low, size, other = doubles(0), doubles(10, 20), doubles(4, 6)
    reach = iou_reach(low, size[:, None], other[:, None], other[:, None])
    assert reach[:, 0, 0].tolist() == [7, 13]


@pytest.mark.parametrize(
    ('calculator', 'dtype', 'holds'),
    [
        (dict(type='BboxOverlaps2D'), torch.float32, True),
        (dict(type='BboxOverlaps2D'), torch.float64, True),
        (dict(type='BboxOverlaps2D'), torch.float16, False),
        (dict(type='BboxOverlaps2D', dtype='fp16'), torch.float32, False),
        (dict(type='BboxOverlaps2D_GLIP'), torch.float32, False),
    ],
)
def test_bounds_hold_for_plain_overlaps(calculator, dtype, holds):
    boxes = torch.tensor([[0, 0, 5, 5]], dtype=dtype)
    assert bounds_hold(TASK_UTILS.build(calculator), boxes, boxes[:0]) is holds


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf, 1e20])
def test_bounds_need_finite_boxes(value):
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 5.0, value]])
    assert bounds_hold(BboxOverlaps2D(), boxes[:1])
    assert not bounds_hold(BboxOverlaps2D(), boxes[:1], boxes)
