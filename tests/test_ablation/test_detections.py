"""Tables 3 and 5 of detections that are known."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmdet_srn.ablation.detections import detection_figures, false_positives
from mmdet_srn.evaluation import ImageFaces, evaluate_face_ap
from mmdet_srn.evaluation.wider_face_results import write_results
from tests.test_evaluation.mat_writer import write_ground_truth


@pytest.mark.parametrize('seed', range(5))
def test_against_one_evaluation_a_threshold(seed):
    rng = np.random.default_rng(seed)
    faces = rng.uniform(0, 60, (12, 2))
    faces = np.c_[faces, faces + 20]
    near = faces[rng.integers(0, 12, 25)] + rng.normal(0, 3, (25, 4))
    away = rng.uniform(0, 60, (15, 2))
    boxes = np.r_[near, np.c_[away, away + 20]]
    scores = rng.permutation(40) / 40
    image = ImageFaces(boxes, scores, faces, np.zeros(12, bool))
    curve = evaluate_face_ap([image])['all']
    reached = []
    for recall in (0.1, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0):
        expected = None
        for threshold in sorted(scores, reverse=True):
            keep = scores >= threshold
            part = ImageFaces(boxes[keep], scores[keep], faces, image.gt_ignored)
            # The last point of its curve is the one with all of it.
            point = evaluate_face_ap([part])['all']
            hits = round(point.recall[-1] * 12)
            if hits >= recall * 12 - 1e-9:
                expected = int(keep.sum()) - hits
                break
        assert false_positives(curve, recall) == expected
        reached.append(expected is not None)
    assert any(reached)


def test_not_reached_and_no_face():
    face = np.array([[0.0, 0, 10, 10]])
    far = np.array([[50.0, 50, 60, 60]])
    image = ImageFaces(far, np.ones(1), face, np.zeros(1, bool))
    assert false_positives(evaluate_face_ap([image])['all'], 0.1) is None
    found = ImageFaces(face, np.ones(1), face, np.zeros(1, bool))
    assert false_positives(evaluate_face_ap([found])['all'], 1.0) == 0


def test_by_the_official_ground_truth(tmp_path):
    """Ten hard faces, of which five are found, one a little beside; two are false."""
    faces = [(50 * i, 10, 20, 20) for i in range(10)]
    # The second image has no detections file: it was not tested.
    images = {'0--E/a': faces, '0--E/b': faces}
    rows = {name: list(range(1, 11)) for name in images}
    easy = {name: [1] for name in images}
    write_ground_truth(tmp_path / 'gt', images, {'hard': rows, 'easy': easy})
    found = [(*face, 0.95 - 0.05 * i) for i, face in enumerate(faces[:5])]
    x, *rest = found[4]
    found[4] = (x + 4, *rest)  # IoU 2/3
    found += [(0, 500, 20, 20, 0.92), (100, 500, 20, 20, 0.78)]
    folder = tmp_path / 'detections'
    assert write_results(folder, [('0--E/a', '0--E/a.jpg', np.array(found))]) == 1
    cfg = Config(dict(test_evaluator=dict(gt_dir=str(tmp_path / 'gt'))))
    figures = detection_figures(folder, cfg)
    counts = dict(zip(('0.1', '0.3', '0.5'), (0, 1, 2), strict=True))
    counts |= {'0.8': None, '0.9': None, '0.95': None}
    assert figures['false_positives'] == counts
    # Steps of recall .1 under the best precision to their right: 1, three of 4/5 and,
    # where the last face is found, 5/7.
    without = 0.1 + 0.3 * 4 / 5
    expected = {'0.5': without + 0.1 * 5 / 7, '0.6': without + 0.1 * 5 / 7}
    assert figures['ap_by_iou'] == pytest.approx(
        {**expected, '0.7': without, '0.8': without}
    )


@pytest.mark.parametrize('evaluator', [{}, dict(box_format='released')])
def test_by_the_annotations_of_several_sets(evaluator, tmp_path):
    """One face of each of two sets; one is found, beside a false one."""
    sets, folder = [], tmp_path / 'detections'
    side = 9 if evaluator else 8  # the last pixel counts; IoU .79
    for name in ('one', 'two'):
        image = tmp_path / name / f'{name}.png'
        image.parent.mkdir()
        cv2.imwrite(str(image), np.zeros((100, 100, 3), np.uint8))
        text = f'{image.name}\n1\n10 10 8 8 0 0 0 0 0 0\n'
        (tmp_path / f'{name}.txt').write_text(text)
        sets.append(
            dict(
                type='WIDERFaceTxtDataset',
                ann_file=str(tmp_path / f'{name}.txt'),
                data_prefix=dict(img=str(image.parent)),
                test_mode=True,
                pipeline=[],
            )
        )
    found = [('one/one', 'one/one.png', np.array([(10, 10, side, side, 0.9)]))]
    found += [('two/two', 'two/two.png', np.array([(60, 60, 20, 20, 0.8)]))]
    write_results(folder, found)
    dataset = dict(type='ConcatDataset', datasets=sets)
    cfg = dict(test_evaluator=evaluator, test_dataloader=dict(dataset=dataset))
    figures = detection_figures(folder, Config(cfg))
    assert figures['ap_by_iou']['0.8'] == pytest.approx(0.5)
    assert figures['false_positives']['0.5'] == 0
    assert figures['false_positives']['0.8'] is None
