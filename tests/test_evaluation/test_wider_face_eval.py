import math
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmdet_srn.evaluation.mat_file import load_mat
from mmdet_srn.evaluation.wider_face_eval import (
    WIDERFaceDetections,
    evaluate_wider_face,
    match_official,
    normalize_scores,
)
from mmdet_srn.evaluation.wider_face_ground_truth import (
    SUBSETS,
    WIDERFaceGroundTruth,
    read_ground_truth,
)
from mmdet_srn.evaluation.wider_face_results import read_results
from tests.reference import wider_face_eval_reference as reference


def _truth(faces, subset=None):
    """Ground truth of images; by default all faces are in the subset."""
    if subset is None:
        subset = [range(len(image)) for image in faces]
    return WIDERFaceGroundTruth.from_images(
        [f'event/{i}' for i in range(len(faces))],
        [np.array(image, int).reshape(-1, 4) for image in faces],
        {'hard': [list(rows) for rows in subset]},
    )


def _evaluate(predictions, faces, subset=None):
    detections = WIDERFaceDetections.from_images(
        [np.array(rows, float).reshape(-1, 5) for rows in predictions]
    )
    return evaluate_wider_face(detections, _truth(faces, subset))['hard']


def _hits(boxes, faces):
    detections = WIDERFaceDetections.from_images([[[*box, 0.5] for box in boxes]])
    return match_official(detections, _truth([faces])).tolist()


# Coordinates that make overlaps, exact halves and ties common, and some that saturate.
_coordinate = st.one_of(
    st.integers(-4, 24).map(lambda v: v / 2),
    st.integers(-40, 120).map(lambda v: v / 4),
    st.floats(-20, 60),
    st.sampled_from([0.49999999999999994, -0.5, 16384.5, 1e5, -7e4, 2.0**31]),
    st.sampled_from([2.0**31 - 1, -(2.0**31), 1e10, -1e10, 1e300, -1e300]),
    st.sampled_from([math.inf, -math.inf, math.nan]),
)
_score = st.one_of(
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.999, 1.0, -1.0]),
    st.floats(-3, 3),
    st.sampled_from([1e-45, 1e39, -1e39, 1e300, math.inf, -math.inf, math.nan]),
)
_small = st.integers(-3, 20)
_face = st.one_of(
    st.tuples(_small, _small, st.integers(-2, 12), st.integers(-2, 12)),
    st.tuples(*[st.sampled_from([-(2**31), -70000, 0, 3, 70000, 2**31 - 1])] * 4),
)


@st.composite
def _image(draw):
    faces = draw(st.lists(_face, max_size=6))
    near = [
        st.tuples(*[st.sampled_from([-1, -0.5, 0, 0, 0.5, 1, 2])] * 4).map(
            lambda d, face=face: [v + e for v, e in zip(face, d, strict=True)]
        )
        for face in faces
    ]
    box = st.one_of(st.lists(_coordinate, min_size=4, max_size=4), *near)
    rows = draw(st.lists(st.tuples(box, _score), max_size=8))
    subset = [i for i in range(len(faces)) if draw(st.booleans())]
    return faces, subset, [[*map(float, box), score] for box, score in rows]


_FACE = (0, 0, 9, 9)


@given(st.lists(_image(), max_size=4))
@example([])
@example([([], [], [])])
@example([([_FACE], [0], [])])  # nothing detected
@example([([_FACE], [0], [(*_FACE, 0.5)] * 2)])  # equal scores: NaN
@example([([(0, 0, 9, 12), _FACE], [0, 1], [(*_FACE, 1.0), (9, 9, 1, 1, 0.0)])])
@example([([_FACE], [0], [(*_FACE, 1.0), (40, 40, 1, 1, 0.0)]), ([_FACE] * 3, [0], [])])
@example(
    [
        (f, s, [(*_FACE, 1.0), (40, 40, 1, 1, 0.0)])
        for f, s in (([_FACE], [0]), ([(80, 80, 3, 3)], []), ([], []))
    ]
)
@settings(max_examples=150, deadline=None)
def test_equals_the_literal_derivation(images):
    faces, subset, predictions = ([image[k] for image in images] for k in range(3))
    ap, precision, recall = reference.evaluate(predictions, faces, subset)
    result = _evaluate(predictions, faces, subset)
    np.testing.assert_array_equal(result.precision, precision)
    np.testing.assert_array_equal(result.recall, recall)
    np.testing.assert_allclose(result.ap, ap, rtol=0, atol=1e-12)
    assert result.num_faces == sum(map(len, subset))


@given(
    st.lists(
        st.tuples(*[st.floats(-5, 40)] * 4, st.floats(0, 1, width=32)),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_order_of_rows_and_images_is_of_no_account(rows, seed):
    rng = np.random.default_rng(seed)
    faces = [rng.integers(-3, 30, (3, 4)) for _ in range(3)]
    predictions = np.array_split(np.array(rows), 3)
    one = _evaluate(predictions, faces)
    order = rng.permutation(3)
    two = _evaluate(
        [rng.permutation(predictions[i]) for i in order], [faces[i] for i in order]
    )
    np.testing.assert_array_equal(one.precision, two.precision)
    np.testing.assert_array_equal(one.recall, two.recall)


@given(st.lists(_score, min_size=1, max_size=20))
@example([0.1] * 3)
@example([0.7] * 3)
@settings(deadline=None)
def test_normalized_scores(scores):
    rows = [[0.0, 0.0, 0.0, 0.0, score] for score in scores]
    expected = [row[4] for row in reference.norm_score([rows])[0]]
    np.testing.assert_array_equal(normalize_scores(np.array(scores)), expected)


def test_many_detections_in_one_image():
    """More pairs than fit one block, wild boxes among them."""
    rng = np.random.default_rng(0)
    faces = np.c_[rng.integers(0, 300, (40, 2)), rng.integers(1, 60, (40, 2))]
    rows = faces[rng.integers(0, 40, 1000)] + rng.normal(0, 4, (1000, 4))
    rows[::100, 0] = -1e6
    rows[::100, 2] = 1e6 + 100
    rows = np.c_[rows, rng.random(1000).round(2)]
    ap, precision, recall = reference.evaluate(
        [rows.tolist()], [faces.tolist()], [list(range(0, 40, 2))]
    )
    result = _evaluate([rows], [faces], [range(0, 40, 2)])
    np.testing.assert_array_equal(result.precision, precision)
    np.testing.assert_array_equal(result.recall, recall)
    assert result.ap == pytest.approx(ap, abs=1e-12)
    assert 0 < result.ap < 1


@pytest.mark.parametrize(
    ('box', 'hit'),
    [
        # A face of 9 x 9 has, with +1, an area of 100.
        ((0, 0, 9, 4), 0),  # 50 / 100: exactly one half
        ((0, 0, 9, 3), -1),  # 40 / 100
        ((0, 0, 9, 3.49), -1),  # corner rounds to 3
        ((0, 0, 9, 3.5), 0),  # corner rounds to 4; 50 / round(100 + 45 - 50) = 50 / 95
        ((-0.5, 0, 9, 9), 0),
        ((0, 0, 9, 19), 0),  # 100 / 200
        ((0, 0, 9, 19.04), 0),  # 100 / round(100 + 200.4 - 100)
        ((0, 0, 9, 19.05), -1),  # area of 200.5 rounds up: 100 / 201
        ((10, 0, 9, 9), -1),  # side by side
    ],
)
def test_rounded_overlap(box, hit):
    assert _hits([box], [(0, 0, 9, 9)]) == [hit]


def test_larger_rounded_overlap_wins():
    # Corners that round to (0, 0, 0, 0) and an area of 0.09: unions of
    # round(2.09) - 1 = 1 with the first face, round(1.09) - 1 = 0 with the second.
    faces = [(0, 0, 1, 0), (0, 0, 0, 0)]
    assert _hits([(0.4, 0.4, -0.7, -0.7)], faces) == [1]
    assert _hits([(0.4, 0.4, -0.7, -0.7)], faces[:1]) == [0]
    # Here the corners round to (0, 0, -1, -1).
    assert _hits([(0.0, 0.0, -0.7, -0.7)], faces) == [-1]


@pytest.mark.parametrize(
    'face',
    [
        (16000, 0, 384, 384),  # where the quick test of pairs gives up
        (70000, 3, 10, 10),  # far outside any image
        (-70000, -70000, 12, 9),
        (0, 0, 70000, 70000),  # the area saturates
        (2**31 - 6, 0, 5, 5),  # the corners just do not
        (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1),
    ],
)
def test_boxes_far_outside_any_image_match_as_well(face):
    x, y, w, h = map(float, face)
    boxes = [(x, y, w, h), (x, y, w + 1, h), (x, y, w, h / 8), (x + w + 9, y, w, h)]
    expected = [
        0 if reference.boxoverlap((x, y, x + w, y + h), (a, b, a + c, b + d)) else -1
        for a, b, c, d in boxes
    ]
    assert expected[0] == 0
    assert _hits(boxes, [face]) == expected


def test_only_the_first_hit_recalls():
    face = (0, 0, 9, 9)
    result = _evaluate([[(*face, 1.0), (*face, 0.5), (90, 90, 5, 5, 0.0)]], [[face]])
    assert result.recall[[0, 499, 500, 999]].tolist() == [1, 1, 1, 1]
    assert result.precision[[0, 498, 499, 998, 999]].tolist() == [1, 1, 0.5, 0.5, 1 / 3]
    assert result.ap == 1


def test_hit_outside_the_subset_is_no_proposal():
    outside, inside = (0, 0, 9, 9), (50, 50, 9, 9)
    rows = [(*outside, 0.9), (*outside, 0.8), (*inside, 0.25), (90, 0, 5, 5, 1.0)]
    result = _evaluate([rows], [[outside, inside]], [[1]])
    assert result.precision[0] == 0
    assert result.precision[-1] == 0.5
    assert result.num_faces == 1


def test_lowest_score_is_never_counted_if_float32_rounds_it_up():
    face = (0, 0, 9, 9)
    assert float(np.float32(0.1)) > 0.1 and float(np.float32(0.7)) < 0.7
    rows = [(50, 50, 5, 5, 0.9), (*face, 0.1)]
    assert _evaluate([rows], [[face]]).recall[-1] == 0
    rows = [(50, 50, 5, 5, 0.9), (*face, 0.7)]
    assert _evaluate([rows], [[face]]).recall[-1] == 1


def test_mapping_of_predictions():
    truth = _truth([[(0, 0, 9, 9)], [(5, 5, 9, 9)]])
    rows = np.array([[5, 5, 9, 9, 0.9], [50, 50, 9, 9, 0.1]])
    assert evaluate_wider_face({'event/1': rows}, truth)['hard'].ap == 0.5
    with pytest.raises(ValueError, match='event/7'):
        evaluate_wider_face({'event/7': rows}, truth)
    with pytest.raises(ValueError, match='1 images, ground truth of 2'):
        evaluate_wider_face(WIDERFaceDetections.from_images([rows]), truth)


def test_published_detections_give_the_official_curves(tmp_path, shared_data):
    dump = shared_data / 'published_dump'
    with zipfile.ZipFile(dump / 'retinaface_mnet_val.zip') as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    truth = read_ground_truth(shared_data / 'annotations/eval_ground_truth')
    detections, report = read_results(folder, truth.names)
    assert not any(report.odd.values())
    results = evaluate_wider_face(detections, truth)
    published = (0.830418491635, 0.768432993141, 0.394354392122)
    for subset, num_faces, ap in zip(
        SUBSETS, (7211, 13319, 31958), published, strict=True
    ):
        path = dump / f'wider_pr_info_retina_cpp_{subset}_val.mat'
        curve = load_mat(path, ['pr_cruve'])['pr_cruve']
        result = results[subset]
        assert result.num_faces == num_faces
        np.testing.assert_array_equal(result.precision, curve[:, 0])
        np.testing.assert_array_equal(result.recall, curve[:, 1])
        assert result.ap == pytest.approx(ap, abs=1e-12)
