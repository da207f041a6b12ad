import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.models.test_time_augs import box_voting
from tests.reference import multi_scale_reference as reference


@st.composite
def detections(draw):
    """Rows on a coarse grid: many equal scores and many IoUs of exactly 0.5."""
    step = draw(st.sampled_from([1.0, 0.37]))
    whole = st.integers(0, 12)
    rows = draw(
        st.lists(
            st.tuples(whole, whole, whole, whole, st.integers(1, 5)),
            max_size=60,
        )
    )
    return [
        (x * step, y * step, (x + w) * step, (y + h) * step, s / 5)
        for x, y, w, h, s in rows
    ]


def voted(rows, **kwargs):
    table = np.array(rows, float).reshape(-1, 5)
    bboxes, scores = box_voting(table[:, :4], table[:, 4], **kwargs)
    assert bboxes.dtype == scores.dtype == np.float64
    assert bboxes.shape == (len(scores), 4)
    return np.column_stack((bboxes, scores))


@given(
    detections(),
    st.sampled_from([0.3, 0.5, 0.75, 1.0]),
    st.booleans(),
    st.sampled_from([1, 3, 750]),
)
def test_is_the_references(rows, iou_thr, keep_singles, max_num):
    arguments = dict(iou_thr=iou_thr, keep_singles=keep_singles, max_num=max_num)
    expected = reference.vote(rows, **arguments)
    np.testing.assert_allclose(
        voted(rows, **arguments),
        np.array(expected).reshape(-1, 5),
        rtol=1e-12,
        atol=1e-12,
    )


def test_by_hand():
    rows = [
        (0, 0, 9, 9, 0.2),  # IoU with the best: 0.5 exactly
        (0, 0, 9, 4, 0.6),
        (50, 50, 59, 59, 0.9),  # seen once
        (0, 5, 9, 9, 0.5),  # overlaps the first, but not the best
    ]
    pair = (0, 0, 9, (9 * 0.2 + 4 * 0.6) / 0.8, 0.6)
    np.testing.assert_allclose(voted(rows), [pair])
    np.testing.assert_allclose(voted(rows, keep_singles=True), [rows[2], pair, rows[3]])
    assert len(voted(rows, iou_thr=0.5000001)) == 0  # 0.5 was reached by equality


@pytest.mark.parametrize('keep_singles', [False, True])
def test_odd_input(keep_singles):
    assert len(voted([], keep_singles=keep_singles)) == 0
    zero = [(0, 0, 9, 9, 0.0), (0, 0, 9, 9, 0.0)]  # no weights to average by
    assert len(voted(zero, keep_singles=keep_singles)) == 0
    # No boxes at all, though at one place: they do not overlap even themselves.
    inverted = [(5, 5, 2, 2, 0.5), (5, 5, 2, 2, 0.4)]
    assert len(voted(inverted, keep_singles=keep_singles)) == 2 * keep_singles


def test_leaves_its_input_alone():
    bboxes, scores = np.array([[0.0, 0, 9, 9], [0, 0, 9, 8]]), np.array([0.5, 0.9])
    copies = bboxes.copy(), scores.copy()
    box_voting(bboxes, scores)
    np.testing.assert_array_equal(bboxes, copies[0])
    np.testing.assert_array_equal(scores, copies[1])
