"""What an evaluation would stop at is said before the network runs."""

import pytest
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

from mmdet_srn.engine import MetricCheckHook
from tests.training import small_config, write_data_set


@pytest.fixture
def build(tmp_path):
    """A run whose validation has no face to find."""
    root = write_data_set(tmp_path / 'data', [1], num_val=1)
    annotation = root / 'wider_face_split/wider_face_val_bbx_gt.txt'
    annotation.write_text('0--Noise/0.png\n0\n')
    return lambda name: Runner.from_cfg(
        small_config('srn_r50_fpn_widerface', root, tmp_path / name)
    )


def test_at_the_start(build, monkeypatch):
    for method in ('test', 'train', 'val'):
        runner = build(method)
        monkeypatch.setattr(runner.model, 'forward', None)
        with pytest.raises(ValueError, match='1 images has no face to find'):
            getattr(runner, method)()


def test_other_data_sets_are_left_alone(build):
    runner = build('other')
    dataset = TensorDataset()
    assert not hasattr(dataset, 'get_data_info')
    runner.test_loop.dataloader.__dict__['dataset'] = dataset
    MetricCheckHook().before_run(runner)
    assert runner.test_dataloader.dataset is dataset
