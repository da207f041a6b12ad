import os
import pickle

import mmengine
import numpy as np
import pytest
import torch

from mmdet_srn.evaluation.prediction_file import read_predictions as read


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
