import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.evaluation.parity import compare_detections


def detections(number, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (number, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 90, (number, 2))])
    return boxes.astype(np.float32), rng.random(number).astype(np.float32)


@given(st.integers(0, 40), st.integers(0, 99))
def test_order_does_not_matter(number, seed):
    boxes, scores = detections(number, seed)
    order = np.random.default_rng(seed).permutation(number)
    parity = compare_detections((boxes, scores), (boxes[order], scores[order]))
    assert parity == ((number, number), number, 0, 0)
    assert parity.same


@given(st.integers(1, 40), st.integers(0, 3), st.booleans(), st.integers(0, 99))
def test_one_that_moved(number, coordinate, far, seed):
    boxes, scores = detections(number, seed)
    moved = boxes.copy()
    place = seed % number
    moved[place, coordinate] += 0.06 if far else 0.04
    parity = compare_detections((boxes, scores), (moved, scores))
    assert parity.same is not far
    assert parity.pairs == number - far
    assert parity.box_diff == pytest.approx(0 if far else 0.04, abs=1e-4)


@pytest.mark.parametrize(('change', 'same'), [(0.9e-4, True), (1.1e-4, False)])
def test_one_with_another_score(change, same):
    boxes, scores = detections(5)
    other = scores.astype(float)
    other[3] += change
    parity = compare_detections((boxes, scores), (boxes, other))
    assert parity.same is same
    assert parity.score_diff == pytest.approx(change if same else 0, abs=1e-6)


def test_one_too_many():
    boxes, scores = detections(5)
    for pair in (
        ((boxes, scores), (boxes[:4], scores[:4])),
        ((boxes[:4], scores[:4]), (boxes, scores)),
        # the same one twice is no partner of two
        ((boxes, scores), (boxes[[0, 0, 1, 2, 3]], scores[[0, 0, 1, 2, 3]])),
    ):
        parity = compare_detections(*pair)
        assert parity.pairs == 4 and not parity.same


def test_tolerances():
    boxes, scores = detections(3)
    shifted = (boxes + np.float32(1), scores)
    assert not compare_detections((boxes, scores), shifted).same
    assert compare_detections((boxes, scores), shifted, box_tolerance=1.1).same


def test_a_close_neighbour_takes_no_partner():
    """Two boxes within the tolerance of each other: as many pairs as there can be."""
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9.04]])
    scores = np.array([0.5, 0.5])
    parity = compare_detections((boxes, scores), (boxes + [0, 0, 0, 0.03], scores))
    assert parity.same
