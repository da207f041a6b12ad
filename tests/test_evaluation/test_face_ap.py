import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmdet_srn.evaluation.face_ap import HEIGHT_BANDS, ImageFaces, evaluate_face_ap
from tests.reference.face_ap_reference import height_ap
from tests.test_evaluation.random_faces import face_images, to_arrays


def _face(*box, detections=()):
    return ImageFaces(
        np.array([d[:4] for d in detections], float).reshape(-1, 4),
        np.array([d[4] for d in detections], float),
        np.array([box], float).reshape(-1, 4),
        np.zeros(1, bool),
    )


_THERE = [0, 0, 20, 20]


def _example(box, *scores, ignored=False):
    boxes = [box] * len(scores)
    return dict(bboxes=boxes, scores=scores, gt_bboxes=[_THERE], gt_ignored=[ignored])


@given(st.lists(face_images(), max_size=4), st.sampled_from([0.3, 0.5, 0.75]))
@example([], 0.5)
@example([_example([0, 0, 20, 10], 0.9)], 0.5)  # an IoU of exactly one half
@example([_example(_THERE, 0.9, 0.8, ignored=True), _example(_THERE, 0.5)], 0.5)
@settings(max_examples=150, deadline=None)
def test_agrees_with_the_plain_loops(images, iou_thr):
    results = evaluate_face_ap(map(to_arrays, images), iou_thr)
    assert list(results) == list(HEIGHT_BANDS)
    for name, (low, high) in HEIGHT_BANDS.items():
        ap, num_faces = height_ap(images, iou_thr, low, high)
        assert results[name].num_faces == num_faces
        np.testing.assert_allclose(results[name].ap, ap, rtol=0, atol=1e-12)


def test_bands_are_half_open_and_cover_everything():
    limits = [HEIGHT_BANDS[k] for k in ('lt16', '16to32', '32to96', 'ge96')]
    assert all(a[1] == b[0] for a, b in zip(limits, limits[1:], strict=False))
    results = evaluate_face_ap([_face(0, 0, 10, 16), _face(0, 0, 10, 32)])
    counts = {name: result.num_faces for name, result in results.items()}
    assert counts == {'all': 2, 'lt16': 0, '16to32': 1, '32to96': 1, 'ge96': 0}


def test_second_detection_of_a_face_is_a_false_positive():
    there = (0, 0, 20, 20)
    twice = _face(*there, detections=[(*there, 0.9), (*there, 0.8)])
    missed = _face(*there, detections=[(*there, 0.1)])
    result = evaluate_face_ap([twice, missed])['all']
    np.testing.assert_allclose(result.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(result.recall, [1 / 2, 1 / 2, 1])
    assert result.ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_curve_has_one_point_per_score():
    there = (0, 0, 20, 20)
    good = _face(*there, detections=[(*there, 0.5)])
    bad = _face(*there, detections=[(80, 80, 99, 99, 0.5)])
    for images in ([good, bad], [bad, good]):
        result = evaluate_face_ap(images)['all']
        assert result.scores.tolist() == [0.5]
        assert result.ap == 0.25
