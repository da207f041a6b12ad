"""False positives at recall, counted threshold by threshold."""

import numpy as np
import pytest

from mmdet_srn.ablation.detections import false_positives
from mmdet_srn.evaluation import ImageFaces, evaluate_face_ap

ALL = {'all': (-np.inf, np.inf)}


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
    curve = evaluate_face_ap([image], 0.5, ALL)['all']
    reached = []
    for recall in (0.1, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0):
        expected = None
        for threshold in sorted(scores, reverse=True):
            keep = scores >= threshold
            part = ImageFaces(boxes[keep], scores[keep], faces, image.gt_ignored)
            # The last point of its curve is the one with all of it.
            point = evaluate_face_ap([part], 0.5, ALL)['all']
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
    assert false_positives(evaluate_face_ap([image], 0.5, ALL)['all'], 0.1) is None
    found = ImageFaces(face, np.ones(1), face, np.zeros(1, bool))
    assert false_positives(evaluate_face_ap([found], 0.5, ALL)['all'], 1.0) == 0
