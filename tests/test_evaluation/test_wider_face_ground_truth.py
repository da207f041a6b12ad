import re

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mmdet_srn.evaluation.wider_face_ground_truth import (
    NUM_VAL_IMAGES,
    WIDERFaceGroundTruth,
    read_ground_truth,
)
from tests.test_evaluation.mat_writer import (
    _cells,
    write_ground_truth,
    write_v5,
    write_v73,
)

IMAGES = {
    '0--Parade/a': [(1, 2, 3, 4), (5, 6, 7, 8)],
    '0--Parade/b.c': [(0, 0, -2, 0)],
    '1--Handshaking/d': [(9, 9, 9, 9)] * 3,
}
SUBSETS = {
    'medium': {'0--Parade/a': [2]},
    'hard': {'0--Parade/a': [1, 2], '1--Handshaking/d': [3]},
}


@pytest.mark.parametrize('write', [write_v5, write_v73])
def test_reads_both_formats(tmp_path, write):
    write_ground_truth(tmp_path, IMAGES, SUBSETS, write)
    truth = read_ground_truth(tmp_path)
    assert truth.names == tuple(IMAGES)
    assert truth.bboxes.dtype == np.int32
    assert truth.bboxes.tolist() == [list(box) for v in IMAGES.values() for box in v]
    assert truth.offsets.tolist() == [0, 2, 3, 6]
    assert {k: v.nonzero()[0].tolist() for k, v in truth.subsets.items()} == {
        'easy': [],
        'medium': [1],
        'hard': [0, 1, 5],
    }
    assert truth.attributes['blur'].tolist() == [0] * 6
    assert truth.attributes['pose'].tolist() == [1] * 6


def test_official_files(shared_data):
    truth = read_ground_truth(shared_data / 'annotations/eval_ground_truth')
    assert len(truth) == NUM_VAL_IMAGES == 3226
    assert len(truth.bboxes) == 39708
    counts = {name: int(mask.sum()) for name, mask in truth.subsets.items()}
    assert counts == {'easy': 7211, 'medium': 13319, 'hard': 31958}
    assert int((truth.bboxes[:, 2:] <= 0).any(axis=1).sum()) == 11
    assert int((truth.attributes['invalid'] == 1).sum()) == 585


def test_restrict():
    truth = WIDERFaceGroundTruth.from_images(
        ['e/a', 'e/b', 'e/c'],
        [np.full((n, 4), n) for n in (1, 2, 3)],
        {'hard': [[0], [1], [0, 2]]},
        {'pose': [[0], [0, 1], [1, 1, 0]]},
    )
    part = truth.restrict(['e/c', 'e/a'])
    assert part.names == ('e/a', 'e/c')
    assert part.bboxes[:, 0].tolist() == [1, 3, 3, 3]
    assert part.offsets.tolist() == [0, 1, 4]
    assert part.subsets['hard'].tolist() == [True, True, False, True]
    assert part.attributes['pose'].tolist() == [0, 1, 1, 0]
    with pytest.raises(ValueError, match='1 images are not in the ground truth: e/x'):
        truth.restrict(['e/a', 'e/x'])


def test_missing_files_say_where_they_come_from(tmp_path):
    write_ground_truth(tmp_path, IMAGES, SUBSETS)
    (tmp_path / 'wider_medium_val.mat').unlink()
    with pytest.raises(FileNotFoundError, match='(?s)no wider_medium_val.mat .*kit'):
        read_ground_truth(tmp_path)
    with pytest.raises(FileNotFoundError, match='wider_easy_val.mat, wider_medium'):
        read_ground_truth(tmp_path / 'nowhere')


def test_malformed_files(tmp_path):
    write_ground_truth(tmp_path, IMAGES, SUBSETS)
    path = tmp_path / 'wider_hard_val.mat'
    write_v5(path, dict(event_list=['0--Parade']))
    with pytest.raises(ValueError, match='hard_val.mat has no variable file_list'):
        read_ground_truth(tmp_path)
    path.write_bytes(b'nothing like it')
    with pytest.raises(ValueError, match='wider_hard_val.mat is not a MATLAB file'):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    'name', ['event_list', 'file_list', 'face_bbx_list', 'gt_list']
)
@pytest.mark.parametrize('value', ['text', np.ones((2, 2)), ['a']])
def test_variables_of_another_kind(tmp_path, name, value):
    write_ground_truth(tmp_path, IMAGES, SUBSETS)
    for path in tmp_path.glob('*.mat'):
        variables = loadmat(path)
        content = {key: variables[key] for key in variables if key[0] != '_'}
        savemat(path, {**content, name: _cells(value)})
    with pytest.raises(ValueError, match=f'(?s){re.escape(str(tmp_path))}.*kit'):
        read_ground_truth(tmp_path)


def test_files_that_do_not_fit_each_other(tmp_path):
    other = dict(IMAGES, **{'0--Parade/a': [(1, 2, 3, 4), (5, 6, 7, 9)]})
    write_ground_truth(tmp_path / 'other', other, SUBSETS)
    write_ground_truth(tmp_path, IMAGES, SUBSETS)
    (tmp_path / 'other/wider_hard_val.mat').replace(tmp_path / 'wider_hard_val.mat')
    with pytest.raises(ValueError, match='different images or faces'):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ('names', 'boxes', 'rows', 'message'),
    [
        (['e/a'], [np.ones((2, 4))], [[2]], 'no such face'),
        (['e/a'], [np.ones((2, 4))], [[-1]], 'no such face'),
        (['e/a'], [np.ones((2, 4))], [[0, 0]], 'a face twice'),
        (['e/a'], [[[0.5, 0, 1, 1]]], [[]], 'whole pixels'),
        (['e/a', 'e/a'], [[], []], [[], []], 'repeat'),
        (['e/a', 'e/b'], [[]], [[], []], 'boxes: 1 entries for 2 images'),
    ],
)
def test_bad_entries(names, boxes, rows, message):
    with pytest.raises(ValueError, match=message):
        WIDERFaceGroundTruth.from_images(names, boxes, {'hard': rows})
