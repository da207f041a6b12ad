import numpy as np
import pytest
from scipy.io import savemat

from mmdet_srn.evaluation.face_ap import ImageFaces
from mmdet_srn.evaluation.face_eval import evaluate_boxes, read_annotation
from tests.reference import face_benchmarks_reference as reference


def faces_of(bboxes, scores, gt_bboxes, gt_ignored=None):
    return ImageFaces(
        np.array(bboxes, float).reshape(-1, 4),
        np.array(scores, float),
        np.array(gt_bboxes, float).reshape(-1, 4),
        np.zeros(len(gt_bboxes), bool) if gt_ignored is None else np.array(gt_ignored),
    )


def test_verdicts_by_hand():
    """In order: ignored, found, found again (false), too small to count, nothing."""
    face, ignored = [100, 100, 149, 149], [300, 100, 329, 129]
    boxes = [ignored, face, [100, 100, 149, 145], [0, 0, 21, 21], [0, 0, 22, 9]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    image = faces_of(boxes, scores, [face, ignored], [False, True])
    missed = faces_of([], [], [[0, 0, 50, 50]])
    result = evaluate_boxes([missed, image], refinements=0)
    assert result.scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert result.recall.tolist() == [0, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(result.precision, [np.nan, 1, 1 / 2, 1 / 3])
    assert (result.ap, result.num_faces) == (0.5, 2)


def test_pixels_are_counted_and_half_is_not_enough():
    """40 of 80 columns are an IoU of .5; one more is above it."""
    face = [0, 0, 79, 39]
    for x2, ap in ((39, 0), (40, 1)):
        image = faces_of([[0, 0, x2, 39]], [1], [face])
        assert evaluate_boxes([image], refinements=0).ap == ap


def test_equal_faces_and_boxes_without_width():
    """The last of equal faces counts, here an ignored one; a line overlaps nothing."""
    twice = [[0, 0, 50, 50]] * 2
    image = faces_of(twice[:1], [1], twice, [False, True])
    assert np.isnan(evaluate_boxes([image], refinements=0).precision).all()
    line, face = [10, 0, 10, 40], [50, 0, 100, 50]
    image = faces_of([line], [1], [line, face], [True, False])
    assert evaluate_boxes([image], refinements=0).precision.tolist() == [0]


def test_refinement_moves_all_boxes():
    """What brings three loose boxes onto their faces helps the fourth as well."""
    faces = [[100 * i, 0, 100 * i + 60, 60] for i in range(4)]
    loose = [[x1 + 8, y1 + 10, x2 + 8, y2 + 10] for x1, y1, x2, y2 in faces[:3]]
    image = faces_of([*loose, [320, 10, 380, 70]], [4, 3, 2, 1], faces)
    assert evaluate_boxes([image], refinements=0).ap == 0.75
    assert evaluate_boxes([image]).ap == 1


def test_without_detections_or_faces():
    assert evaluate_boxes([faces_of([], [], [[0, 0, 50, 50]])]).ap == 0
    with pytest.raises(ValueError, match='no face to find'):
        evaluate_boxes([faces_of([], [], [[0, 0, 50, 50]], [True])])


@pytest.mark.parametrize('rounds', [1, 5])
def test_as_the_slow_way(rounds):
    rng = np.random.default_rng(rounds)
    images, faces, rows = [], {}, []
    for number in range(12):
        corners = rng.integers(0, 120, (4, 2))
        gt = np.hstack((corners, corners + rng.integers(20, 70, (4, 2)))).astype(float)
        gt, ignored = gt[: number % 5], (rng.random(4) < 0.3)[: number % 5]
        boxes = gt[rng.integers(0, max(len(gt), 1), 8 * (len(gt) > 0))]
        boxes = np.round(boxes + rng.normal(4, 6, boxes.shape), 1)
        boxes = np.vstack((boxes, [[5, 5, 60, 60]]))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = rng.integers(0, 30, len(boxes)) / 30
        images.append(faces_of(boxes, scores, gt, ignored))
        faces[number] = [(*box, flag) for box, flag in zip(gt, ignored, strict=True)]
        rows += [(number, s, *b) for s, b in zip(scores, boxes, strict=True)]
    result = evaluate_boxes(images, refinements=rounds - 1)
    ap, verdicts = reference.face_eval(faces, rows, rounds)
    assert result.ap == pytest.approx(ap, abs=1e-12)
    found = np.cumsum([verdict == 'tp' for verdict in verdicts])
    np.testing.assert_allclose(result.recall * result.num_faces, found, atol=1e-9)
    assert 0.2 < ap < 0.9 and {'tp', 'fp', None} == set(verdicts)


def write_annotation(path, images):
    """As face-eval's files are: a column of structs."""
    table = np.empty((len(images), 1), [('imgname', object), ('objects', object)])
    for row, (name, objects) in zip(table[:, 0], images.items(), strict=True):
        row['imgname'], row['objects'] = name, np.array(objects)
    savemat(path, dict(Annotations=table), do_compression=True)


def test_reads_both_annotations(tmp_path):
    path = tmp_path / 'afw.mat'
    images = {
        '1004.jpg': [[1, 2, 41, 52, 0, 0], [1, 2, 41, 52, 0, 1], [1, 2, 30, 52, 0, 0]],
        'four.jpg': [[10.5, 20, 40.5, 60]],
        'none.jpg': np.zeros((0, 0)),
    }
    write_annotation(path, images)
    faces = read_annotation(path)
    assert list(faces) == ['1004', 'four', 'none']
    assert faces['1004'][1].tolist() == [False, True, True]  # the last is 29 wide
    assert faces['four'][0].tolist() == [[10.5, 20, 40.5, 60]]
    assert faces['four'][1].tolist() == [False]
    assert len(faces['none'][0]) == len(faces['none'][1]) == 0


def test_damaged_annotation_is_named(tmp_path):
    path = tmp_path / 'x.mat'
    write_annotation(path, {'a.jpg': [[1, 2, 41, 52]], 'b.jpg': [[np.nan, 1, 2, 3]]})
    with pytest.raises(ValueError, match=r'x.mat: Annotations\(2\): .* b '):
        read_annotation(path)
    savemat(path, dict(Annotations=np.ones((2, 2))))
    with pytest.raises(ValueError, match=r'x.mat: Annotations\(1\)'):
        read_annotation(path)
    path.write_text('text')
    with pytest.raises(ValueError, match='x.mat is not a MATLAB file'):
        read_annotation(path)
