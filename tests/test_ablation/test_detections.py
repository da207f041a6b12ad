"""Tables 3 and 5 of detections that are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmdet_srn.ablation.detections import detection_figures, false_positives
from mmdet_srn.ablation.identity import settings
from mmdet_srn.ablation.plan import Plan, Run
from mmdet_srn.ablation.report import make_report, to_markdown
from mmdet_srn.ablation.result import write_settings
from mmdet_srn.ablation.tables import Cell, Table
from mmdet_srn.evaluation import ImageFaces, evaluate_face_ap
from mmdet_srn.evaluation.wider_face_results import write_results
from tests.test_evaluation.mat_writer import write_ground_truth

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


@pytest.fixture
def official_run(tmp_path) -> Run:
    """A run whose detections are made here, and the official ground truth of them.

    Ten hard faces, five of which are found, one a little beside; two false positives.
    """
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
    cfg = Config(
        dict(
            test_evaluator=dict(type='WIDERFaceMetric', gt_dir=str(tmp_path / 'gt')),
            test_dataloader=dict(dataset=dict(data_root='data/WIDERFace/')),
        )
    )
    folder = tmp_path / 'cell' / 'seed_0'
    run = Run('cell', 0, '', cfg, settings(cfg.to_dict()), folder, [])
    write_settings(run)
    detections = [('0--E/a', '0--E/a.jpg', np.array(found))]
    assert write_results(folder / 'detections', detections) == 1
    result = dict(
        metrics=dict(hard=0.4),
        survivors=None,
        protocol='original',
        test_images=1,
        iterations=2,
        batch=2,
        epochs=1,
        seconds=1.0,
        resumed=False,
        version='0',
    )
    (folder / 'result.json').write_text(json.dumps(result))
    return run


def test_by_the_official_ground_truth(official_run):
    figures = detection_figures(official_run)
    assert figures.subset == 'hard'
    counts = {0.1: 0, 0.3: 1, 0.5: 2, 0.8: None, 0.9: None, 0.95: None}
    assert figures.false_positives == counts
    # Steps of recall .1 under the best precision to their right: 1, three of 4/5 and,
    # where the last face is found, 5/7.
    without = 0.1 + 0.3 * 4 / 5
    expected = {0.5: without + 0.1 * 5 / 7, 0.6: without + 0.1 * 5 / 7}
    assert figures.ap_by_iou == pytest.approx({**expected, 0.7: without, 0.8: without})


@pytest.mark.parametrize(
    ('figures', 'what', 'paper'),
    [
        ('ap', 'AP in percent, official.', 'val, in percent, SRN'),
        (
            'ap_by_iou',
            'AP in percent, of the hard faces by the official ground truth, not '
            'official.',
            'val, in percent, SRN',
        ),
        (
            'false_positives',
            'Numbers of false positives, of the hard faces by the official ground '
            'truth, not official.',
            "val, SRN's",
        ),
    ],
)
def test_only_ap_is_called_official(figures, what, paper, official_run):
    table = Table('T', ('one',), (Cell('cell', 'C'),), figures)
    plan = Plan([official_run], {('t', 0, 0): official_run}, {'t': []})
    text = to_markdown(make_report('t', table, plan, [0], Path('base.py'), []))
    assert f'- {what}\n' in text
    assert f'- Paper: WIDER FACE {paper}' in text
    assert "Ours are not WIDER FACE's figures" not in text
