import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.evaluation.face_ap import HEIGHT_BANDS, ImageFaces, evaluate_face_ap
from mmdet_srn.evaluation.operating_points import (
    best_f1,
    judge,
    lowest_threshold,
    point_at,
)
from tests.reference.face_ap_reference import height_outcomes
from tests.test_evaluation.random_faces import face_images, to_arrays


def plain_point(images, threshold, limits):
    """Detections below the threshold are thrown away, the others matched anew."""
    kept = []
    for image in images:
        rows = [i for i, s in enumerate(image['scores']) if s >= threshold]
        columns = {key: [image[key][i] for i in rows] for key in ('bboxes', 'scores')}
        kept.append(image | columns)
    outcomes, faces = height_outcomes(kept, 0.5, *limits)
    hits = sum(hit for _, hit in outcomes)
    false = len(outcomes) - hits
    precision = hits / len(outcomes) if outcomes else math.nan
    recall = hits / faces if faces else math.nan
    f1 = math.nan
    if faces:
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    rate = false / len(images) if images else math.nan
    return precision, recall, f1, hits, false, rate


def assert_same(point, images, limits):
    expected = plain_point(images, point.threshold, limits)
    np.testing.assert_allclose(point[1:], expected, rtol=0, atol=1e-12)


@given(
    st.lists(face_images(), max_size=4),
    st.sampled_from([0.3, 0.5, 2 / 3, 0.95, 1.0]),
    st.sampled_from([*HEIGHT_BANDS]),
)
@settings(max_examples=150, deadline=None)
def test_agrees_with_the_plain_loops(images, wished, name):
    limits, num = HEIGHT_BANDS[name], len(images)
    curve = evaluate_face_ap(map(to_arrays, images))[name]
    scores = {score for image in images for score in image['scores']}
    levels = sorted(scores | {-1.0, 0.05, 0.3, 1.5})
    for threshold in levels:
        assert_same(point_at(curve, threshold, num), images, limits)
    points = {level: plain_point(images, level, limits) for level in levels}

    best = best_f1(curve, num)
    if not any(hits for *_, hits, _, _ in points.values()):
        assert best is None
    else:
        assert_same(best, images, limits)
        assert best.f1 == pytest.approx(max(f1 for _, _, f1, *_ in points.values()))

    lowest = lowest_threshold(curve, wished, num)
    reached = [p[3] + p[4] for p in points.values() if p[0] >= wished]
    if not reached:
        assert lowest is None
    else:
        assert_same(lowest, images, limits)
        assert lowest.precision >= wished
        assert lowest.true_positives + lowest.false_positives == max(reached)


@given(st.lists(face_images(), max_size=3), st.sampled_from([0.0, 0.1, 0.5, 0.95, 2]))
@settings(max_examples=100, deadline=None)
def test_single_mistakes_add_up(images, threshold):
    arrays = [to_arrays(image) for image in images]
    curve = evaluate_face_ap(arrays)['all']
    point = point_at(curve, threshold, len(images))
    outcomes = [judge(image) for image in arrays]
    missed = sum(np.sum(outcome.found < threshold) for outcome in outcomes)
    assert missed == curve.num_faces - point.true_positives
    false = [
        outcome.false & (image.scores >= threshold)
        for outcome, image in zip(outcomes, arrays, strict=True)
    ]
    assert sum(map(np.sum, false)) == point.false_positives


def test_which_face_is_found_by_which_detection():
    """Rows are those of the image, though the detections are sorted by score."""
    faces = np.array([[0, 0, 10, 10], [30, 0, 40, 10], [60, 0, 70, 10]], float)
    boxes = np.array([[90, 0, 99, 9], faces[2], faces[0], faces[0]])
    ignored = np.array([False, False, True])
    found, false = judge(
        ImageFaces(boxes, np.array([0.4, 0.9, 0.3, 0.8]), faces, ignored)
    )
    np.testing.assert_array_equal(found, [0.8, -np.inf, np.nan])
    assert false.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ('scores', 'threshold'), [([0.87654, 0.871], 0.876), ([0.5, 0.5 - 1e-9], None)]
)
def test_thresholds_lie_between_scores(scores, threshold):
    """So that they mean the same for >= and >, and in few digits."""
    face = np.array([[0.0, 0, 10, 10]])
    image = ImageFaces(
        np.r_[face, face + 50], np.array(scores), face, np.zeros(1, bool)
    )
    curve = evaluate_face_ap([image])['all']
    for point in (best_f1(curve, 1), lowest_threshold(curve, 1.0, 1)):
        assert scores[1] < point.threshold < scores[0]
        assert threshold in (point.threshold, None)
        assert (point.f1, point.false_positives) == (1, 0)
