import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.evaluation.wider_face_analysis import (
    analyze_wider_face,
    false_positives_at_recall,
)
from mmdet_srn.evaluation.wider_face_eval import (
    WIDERFaceDetections,
    match_official,
    match_real_iou,
)
from mmdet_srn.evaluation.wider_face_ground_truth import WIDERFaceGroundTruth

_coordinate = st.integers(-4, 40).map(lambda v: v / 2)
_rows = st.lists(
    st.tuples(*[_coordinate] * 4, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
    max_size=12,
)
_faces = st.lists(st.tuples(*[st.integers(0, 15)] * 4), max_size=5)


def _truth(faces, subset=None, attributes=None):
    return WIDERFaceGroundTruth.from_images(
        ['e/a'],
        [np.array(faces, int).reshape(-1, 4)],
        {'hard': [range(len(faces)) if subset is None else subset]},
        attributes,
    )


def _detections(rows):
    return WIDERFaceDetections.from_images([np.array(rows, float).reshape(-1, 5)])


def _iou(row, face):
    x, y, w, h = row[:4]
    iw = min(x + w, face[0] + face[2]) - max(x, face[0]) + 1
    ih = min(y + h, face[1] + face[3]) - max(y, face[1]) + 1
    if iw <= 0 or ih <= 0:
        return 0.0
    union = (w + 1) * (h + 1) + (face[2] + 1) * (face[3] + 1) - iw * ih
    return iw * ih / union


@given(_rows, _faces)
@settings(deadline=None)
def test_real_iou_agrees_with_plain_loops(rows, faces):
    found, iou = match_real_iou(_detections(rows), _truth(faces), 0.5)
    for row, got, overlap in zip(rows, found.tolist(), iou.tolist(), strict=True):
        values = [_iou(row, face) for face in faces]
        if max(values, default=0) < 0.5:
            assert (got, overlap) == (-1, 0)
        else:
            assert got == values.index(max(values))
            assert overlap == max(values)


def test_real_iou_far_outside_any_image():
    rows = [(1e9, 0, 5, 5, 1.0), (math.nan, 0, 5, 5, 1.0), (0, 0, math.inf, 5, 1.0)]
    found, iou = match_real_iou(_detections(rows), _truth([(0, 0, 5, 5)]), 0.5)
    assert found.tolist() == [-1, -1, -1]
    assert iou.tolist() == [0, 0, 0]


@given(_rows, _faces, st.sets(st.integers(0, 4)))
@settings(deadline=None)
def test_false_positives_agree_with_plain_loops(rows, faces, subset):
    subset = [i for i in subset if i < len(faces)]
    truth, detections = _truth(faces, subset), _detections(rows)
    hits = match_official(detections, truth)
    in_subset = truth.subsets['hard']
    recalls = (0.1, 0.3, 0.5, 1.0)
    expected = {}
    for recall in recalls:
        expected[recall] = None
        for threshold in (1.0, 0.75, 0.5, 0.25, 0.0):
            kept = hits[detections.rows[:, 4] >= threshold] if faces else []
            found = {h for h in kept if h in subset}
            proposals = sum(h == -1 or h in subset for h in kept)
            if subset and len(found) >= recall * len(subset):
                expected[recall] = proposals - len(found)
                break
    assert (
        false_positives_at_recall(detections, truth, hits, in_subset, recalls)
        == expected
    )


def test_analysis():
    faces = [(0, 0, 9, 9), (100, 0, 19, 19), (200, 0, 99, 99)]
    rows = [
        (0, 0, 9, 9, 1.0),
        (100, 0, 19, 13, 0.75),  # IoU 0.7
        (300, 300, 5, 5, 0.5),
        (200, 0, 99, 99, 0.25),
        (0, 200, 5, 5, 0.0),
    ]
    analysis = analyze_wider_face(
        _detections(rows), _truth(faces, attributes={'pose': [[0, 0, 1]]})
    )
    assert analysis.false_positives['hard'] == {
        0.1: 0,
        0.3: 0,
        0.5: 0,
        0.8: 1,
        0.9: 1,
        0.95: 1,
    }
    full = 2 / 3 + 1 / 3 * 3 / 4
    part = 1 / 3 + 1 / 3 * 2 / 4
    by_iou = analysis.ap_by_iou['hard']
    for threshold in (0.5, 0.7):
        assert by_iou[threshold] == pytest.approx(full)
    for threshold in (0.75, 0.95):
        assert by_iou[threshold] == pytest.approx(part)
    assert len(by_iou) == 10
    assert analysis.ap_mean_iou['hard'] == pytest.approx((full + part) / 2)
    heights = analysis.ap_by_height
    assert heights['all'].ap == pytest.approx(full)
    assert [group.num_faces for group in heights.values()] == [3, 1, 1, 0, 1]
    assert heights['lt16'].ap == 1
    # The three detections of other faces are out of the way; one is wrong before it.
    assert heights['ge96'].ap == pytest.approx(1 / 2)
    assert math.isnan(heights['32to96'].ap)
    pose = analysis.ap_by_attribute['pose']
    assert {k: v.num_faces for k, v in pose.items()} == {'typical': 2, 'atypical': 1}
    assert pose['typical'].ap == 1
    assert pose['atypical'].ap == pytest.approx(1 / 2)
