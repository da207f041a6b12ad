import os
import pickle

import mmengine
import numpy as np
import pytest
import torch

from mmdet_srn.evaluation.prediction_file import (
    pick_results,
    read_result_folder,
)
from mmdet_srn.evaluation.prediction_file import read_predictions as read
from mmdet_srn.evaluation.wider_face_results import write_results


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ('the_file_ran_code',)


def test_results_run_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dict(
        img_path='a.jpg',
        instances=[dict(bbox=[0.0, 0.0, 1.0, 1.0], ignore_flag=0)],
        pred_instances=dict(bboxes=torch.ones(1, 4), scores=torch.ones(1)),
        shape=np.float32(1),
    )
    path = tmp_path / 'results.pkl'
    mmengine.dump([result], path)  # as mim test does, in pickle's protocol 2
    assert torch.equal(read(path)[0]['pred_instances']['bboxes'], torch.ones(1, 4))
    path.write_bytes(pickle.dumps([RunsCode()]))
    with pytest.raises(ValueError, match=r'results\.pkl .*mkdir'):
        read(path)
    other = tmp_path / 'results.yaml'
    other.write_text('!!python/object/apply:os.mkdir [the_file_ran_code]')
    with pytest.raises(ValueError, match=r'results\.yaml is not a \.pkl'):
        read(other)
    assert not (tmp_path / 'the_file_ran_code').exists()


def test_results_are_found_by_the_end_of_their_path():
    """In the folder itself before anywhere else, as names may end alike."""
    paths = ['/old/data/x.jpg', '/old/data/sub/x.jpg', 'y.jpg', '/new/sub/y.jpg']
    results = [dict(img_path=path) for path in paths]
    picked = pick_results(results, ['sub/x.jpg', 'z.jpg', 'y.jpg'], os.getcwd())
    assert picked == [results[1], None, results[2]]
    assert pick_results(results[:2], ['x.jpg', 'sub/x.jpg']) == results[:2]
    with pytest.raises(ValueError, match='2 results may be of x.jpg'):
        pick_results(results, ['x.jpg'], '/new')


def test_result_folders_of_either_naming(tmp_path):
    """By the last folder, as in WIDER FACE, or all below the common one."""
    paths = [f'/data/{name}.jpg' for name in ('1/p/a', '1/q/b', '2/q/c')]
    row = np.array([[1, 2, 10, 20, 0.5]])
    for names in (['p/a', 'q/c'], ['1/p/a', '2/q/c']):
        folder = tmp_path / names[0].replace('/', '_')
        write_results(folder, [(name, name, row) for name in names])
        results, report = read_result_folder(folder, paths)
        assert [result and result['img_path'] for result in results] == [
            *(paths[0], None, paths[2])
        ]
        found = results[2]['pred_instances']
        assert found['bboxes'].tolist() == [[1, 2, 11, 22]]
        assert found['scores'].tolist() == [0.5]
        assert len(report.odd['missing']) == 1
    with pytest.raises(ValueError, match='more than once, such as q/a'):
        read_result_folder(tmp_path, ['/data/q/a.jpg', '/data/q/a.png'])
