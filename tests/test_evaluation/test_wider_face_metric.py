import json
import logging

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

import mmdet_srn  # noqa: F401
from mmdet_srn.evaluation import (
    evaluate_wider_face,
    read_ground_truth,
    read_results,
    wider_face_metric,
)
from tests.test_evaluation.mat_writer import write_ground_truth

IMAGES = {
    '0--Parade/a': [(0, 0, 9, 9), (50, 50, 20, 20)],
    '0--Parade/b.c': [(10, 10, 30, 30)],
    '1--Handshaking/d': [(5, 5, 40, 40), (100, 100, 10, 12), (200, 10, 99, 120)],
}
SUBSETS = {
    'medium': {'0--Parade/a': [2]},
    'hard': {'0--Parade/a': [1, 2], '0--Parade/b.c': [1], '1--Handshaking/d': [1, 3]},
}


def _sample(rows, faces, name='0--Parade/a', **metainfo):
    """One image: detections (x1, y1, x2, y2, score), faces (x1, y1, x2, y2, ignore)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    sample = DetDataSample(
        metainfo=dict(
            img_id=name,
            img_path=f'/data/WIDER_val/images/{name}.jpg',
            ori_shape=(240, 320),
            instances=[
                dict(bbox=list(face[:4]), bbox_label=0, ignore_flag=face[4])
                for face in faces
            ],
            **metainfo,
        )
    )
    sample.pred_instances = InstanceData(
        bboxes=table[:, :4],
        scores=table[:, 4],
        labels=torch.zeros(len(table), dtype=torch.long),
    )
    return sample.to_dict()


def _metric(**kwargs):
    return METRICS.build(dict(type='WIDERFaceMetric', **kwargs))


def _evaluate(samples, **kwargs):
    metric = _metric(**kwargs)
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def _random_samples(count=3):
    """Faces found more or less well, and others."""
    rng = np.random.default_rng(0)
    samples = []
    for name, faces in list(IMAGES.items())[:count]:
        xywh = np.array(faces, float)
        boxes = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)
        found = np.repeat(boxes, 4, axis=0) + rng.normal(0, 3, (4 * len(boxes), 4))
        rows = np.c_[found, rng.random(len(found))]
        samples.append(_sample(rows, np.c_[boxes, np.zeros(len(boxes))], name))
    return samples


@pytest.fixture
def gt_dir(tmp_path):
    write_ground_truth(tmp_path / 'gt', IMAGES, SUBSETS)
    return str(tmp_path / 'gt')


def test_all_faces_and_height_bands(log):
    samples = [
        _sample([(0, 0, 10, 10, 0.9)], [(0, 0, 10, 10, 0), (50, 50, 90, 90, 0)]),
        _sample([(0, 0, 20, 20, 0.8)], [(0, 0, 20, 20, 1)]),
    ]
    metrics = _evaluate(samples, protocol='vga')
    assert metrics == {
        'widerface/AP': 0.5,
        'widerface/AP_lt16': 1.0,
        'widerface/AP_32to96': 0.0,
        'widerface/faces': 2,
        'widerface/faces_lt16': 1,
        'widerface/faces_16to32': 0,
        'widerface/faces_32to96': 1,
        'widerface/faces_ge96': 0,
        'widerface/protocol': 'vga',
    }
    message = log[-1].getMessage()
    assert 'not official' in message
    assert '2 images, protocol vga (single scale, long side' in message
    assert '| lt16            | 1     | 1.0000 |' in message
    assert '| ge96            | 0     | -      |' in message


def test_other_labels_are_passed_over():
    sample = _sample([(0, 0, 9, 9, 0.5), (50, 50, 60, 60, 0.9)], [(0, 0, 9, 9, 0)])
    sample['pred_instances']['labels'][1] = 3
    sample['instances'].append(dict(bbox=[9, 9, 20, 20], bbox_label=1, ignore_flag=0))
    metrics = _evaluate([sample])
    assert (metrics['widerface/AP'], metrics['widerface/faces']) == (1, 1)


def test_ground_truth_from_gt_instances():
    sample = _sample([(0, 0, 20, 20, 0.9), (50, 50, 90, 90, 0.5)], [])
    del sample['instances']

    def instances(box):
        return dict(bboxes=torch.tensor([box]), labels=torch.zeros(1, dtype=torch.int))

    sample['gt_instances'] = instances([50.0, 50, 90, 90])
    sample['ignored_instances'] = instances([0.0, 0, 20, 20])
    metrics = _evaluate([sample])
    assert (metrics['widerface/AP'], metrics['widerface/faces']) == (1, 1)
    del sample['gt_instances']
    with pytest.raises(KeyError, match='a.jpg came without ground truth'):
        _evaluate([sample])


def test_official_equals_the_evaluation_of_the_files(gt_dir, tmp_path):
    prefix = tmp_path / 'out/results'
    metrics = _evaluate(_random_samples(), gt_dir=gt_dir, outfile_prefix=str(prefix))
    truth = read_ground_truth(gt_dir)
    detections, report = read_results(prefix, truth.names)
    assert not any(report.odd.values())
    expected = evaluate_wider_face(detections, truth)
    assert 0 < metrics['widerface/hard'] < 1
    assert metrics['widerface/hard'] == expected['hard'].ap
    assert metrics['widerface/medium'] == expected['medium'].ap
    assert 'widerface/easy' not in metrics  # no such face
    first = (prefix / '0--Parade/b.c.txt').read_text().splitlines()
    assert first[:2] == ['0--Parade/b.c.jpg', '4']
    stored = json.loads((tmp_path / 'out/results.json').read_text())
    assert stored['images'] == 3
    assert stored['hard'] == metrics['widerface/hard']
    assert stored['protocol'] == metrics['widerface/protocol']


def test_part_of_val_is_said_loudly(gt_dir, log):
    metrics = _evaluate(_random_samples(2), gt_dir=gt_dir, protocol='original')
    note = 'only 2 of 3226 val images, NOT COMPARABLE'
    assert metrics['widerface/protocol'] == f'original ({note})'
    warnings = [r.getMessage() for r in log if r.levelno == logging.WARNING]
    assert len(warnings) == 1 and note in warnings[0]
    truth = read_ground_truth(gt_dir).restrict(list(IMAGES)[:2])
    table = log[-1].getMessage()
    assert f'| hard   | {int(truth.subsets["hard"].sum())}     |' in table


def test_whole_val_is_not_called_a_part(gt_dir, log, monkeypatch):
    monkeypatch.setattr(wider_face_metric, 'NUM_VAL_IMAGES', len(IMAGES))
    metrics = _evaluate(_random_samples(), gt_dir=gt_dir, protocol='vga')
    assert metrics['widerface/protocol'] == 'vga'
    assert not [r for r in log if r.levelno >= logging.WARNING]


def test_what_it_would_stop_at_is_said_at_the_start(gt_dir, tmp_path):
    samples = _random_samples()
    twice, unknown = [*samples, samples[0]], [*samples, _sample([], [], '0--Parade/x')]
    # The last folder and the file are the name in the official ground truth.
    folders = [_sample([], [], f'{year}/0--Parade/a') for year in (1, 2)]
    official, files = dict(gt_dir=gt_dir), dict(outfile_prefix=str(tmp_path / 'out'))
    for options, wrong, message in (
        (official, twice, '1 images came more than once'),
        (official, unknown, 'not in the ground truth: 0--Parade/x'),
        (official, folders, 'more than once, such as 0--Parade/a'),
        (files, twice, '1 images came more than once'),
    ):
        _metric(**options).check_images(samples)
        with pytest.raises(ValueError, match=message):
            _metric(**options).check_images(wrong)
        with pytest.raises(ValueError, match=message):
            _evaluate(wrong, **options)
    with pytest.raises(FileNotFoundError, match='kit'):
        _metric(gt_dir=str(tmp_path / 'nowhere'))


@pytest.mark.parametrize('faces', [[], [(0, 0, 9, 9, 1)]])
def test_no_face_to_find(faces):
    sample = _sample([(0, 0, 9, 9, 0.5)], faces)
    for evaluate in (_metric().check_images, _evaluate):
        with pytest.raises(ValueError, match='no face to find'):
            evaluate([sample])


def test_names_keep_their_folders(tmp_path):
    names = ['2024/party/a', '2025/party/a', '2025/b']
    samples = [_sample([], [(0, 0, 9, 9, 0)], name) for name in names]
    metric = _metric(outfile_prefix=str(tmp_path / 'out'))
    metric.check_images(samples)
    _evaluate(samples, outfile_prefix=str(tmp_path / 'out'))
    for name in names:
        text = (tmp_path / f'out/{name}.txt').read_text()
        assert text == f'{name}.jpg\n0\n'


def test_odd_values_are_counted(log):
    rows = [(0, 0, 10, 10, 99), (5, 5, 1, 9, 0.5), (0, 0, np.nan, 10, 0.1)]
    samples = [_sample(rows, [(0, 0, 9, 9, 0)]), _sample([], [], '0--Parade/d')]
    _evaluate(samples)
    warnings = [r.getMessage() for r in log if r.levelno == logging.WARNING]
    assert len(warnings) == 3
    for word, warning in zip(('NaN', 'outside 0..1', 'below 0'), warnings, strict=True):
        assert word in warning
        assert '1 of 2 images' in warning and 'a.jpg: 1 of 3' in warning


def test_format_only(tmp_path, gt_dir):
    prefix = tmp_path / 'test_split'
    sample = _sample([(1.5, 2, 11.5, 22, 0.25)], [])
    del sample['instances']  # the test split has none
    metrics = _evaluate([sample], outfile_prefix=str(prefix), format_only=True)
    assert metrics == {'widerface/protocol': 'unknown'}
    text = (prefix / '0--Parade/a.txt').read_text()
    assert text == '0--Parade/a.jpg\n1\n1.5 2 10 20 0.25\n'
    with pytest.raises(ValueError, match='outfile_prefix'):
        _metric(format_only=True)


def test_released_box_format(tmp_path):
    prefix = str(tmp_path / 'out')
    rows = [(-3.2, 2.4, 10.6, 400, 0.12349), (300.5, 0.5, 350, 2.5, 0.9996)]
    sample = _sample(rows, [(0, 0, 9, 9, 0)])
    _evaluate([sample], outfile_prefix=prefix, box_format='released')
    # Clipped to 320 x 240: x2 <= 319, y2 <= 239; halves to even.
    expected = ['0--Parade/a.jpg', '2', '0 2 12 238 0.123', '300 0 20 3 1']
    assert (tmp_path / 'out/0--Parade/a.txt').read_text().splitlines() == expected
    with pytest.raises(ValueError, match='box_format'):
        _metric(box_format='rounded')


def test_faces_of_mmdets_coco_dataset(tmp_path):
    (tmp_path / 'faces.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='a.jpg', width=320, height=240)],
                categories=[dict(id=3, name='face')],
                annotations=[
                    dict(id=i, image_id=1, category_id=3, bbox=box, iscrowd=0, area=800)
                    for i, box in enumerate(([5, 5, 20, 40], [100, 50, 40, 20]))
                ],
            )
        )
    )
    dataset = CocoDataset(
        ann_file=str(tmp_path / 'faces.json'),
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=('face',)),
        test_mode=True,
    )
    faces = [
        (*face['bbox'], face['ignore_flag'])
        for face in dataset.get_data_info(0)['instances']
    ]
    found = _evaluate([_sample([(5, 5, 25, 45, 0.9), (0, 0, 9, 9, 0.8)], faces)])
    assert found['widerface/faces'] == 2
    assert found['widerface/AP'] == pytest.approx(0.5)
