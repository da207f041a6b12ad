"""Two processes compute what one does with both batches; gloo, on CPUs.

Real launchers, real processes, DistributedDataParallel as mmengine wraps with it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_srn._mmdet_tools import join_processes_without_gpu, leave_processes
from tests.ddp_worker import CASES, PROCESSES, run
from tests.test_install.environment import clean_sources, editable
from tests.training import ROOT, SIZE, logged, small_config, write_data_set


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process of tests/ddp_worker.py computed."""
    folder = tmp_path_factory.mktemp('ddp')
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc-per-node', str(PROCESSES), '-m', 'tests.ddp_worker', folder),
        ],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    return [
        torch.load(folder / f'{rank}.pth', weights_only=False)
        for rank in range(PROCESSES)
    ]


@pytest.mark.parametrize('name', CASES)
def test_gradients_and_losses_are_the_joint_batchs(found, name):
    """Same normalisers, same all-reduced gradients, also where one has no face."""
    joint = run(CASES[name], None)
    one, other = (processes[name] for processes in found)
    for parameter, expected in joint['gradients'].items():
        gradient = one['gradients'][parameter]
        assert torch.equal(gradient, other['gradients'][parameter])
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            gradient, expected, rtol=0, atol=1e-5 * max(scale, 1e-3), msg=parameter
        )
    assert any(gradient.any() for gradient in joint['gradients'].values())
    for mine, yours, expected in zip(
        one['losses'], other['losses'], joint['losses'], strict=True
    ):
        assert set(mine) == set(yours) == set(expected)
        for key, value in expected.items():
            pair = mine[key], yours[key]
            together = sum(pair) if key.startswith('num_pos') else sum(pair) / 2
            assert together == pytest.approx(value, rel=1e-5, abs=1e-6), key


def test_all_processes_stop_at_the_nan_of_one(found):
    """And all say which images it was."""
    for processes in found:
        assert 'in epoch 1, iteration 5 of 9' in processes['nan']
        assert 'process 1: loss nan; images: image_of_process_1.jpg' in processes['nan']
        assert 'image_of_process_0' not in processes['nan']


# ------------------------------------------------------------------ mim train


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 3 iterations of 4 images; validation does not divide by the processes
    faces = [3, 1, 0, 4, 1, 5, 0, 0, 2, 6, 1, 1]
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', faces, num_val=5)


def config(data: Path, work_dir: Path, batch_size: int) -> Config:
    """An epoch in which nothing but the order of the images is random.

    The learning rate is 0: momentum adds the gradients up, and the evaluation sees
    the very same weights.
    """
    cfg = small_config(
        'srn_r50_fpn_widerface',
        data,
        work_dir,
        randomness__seed=3,
        train_dataloader__batch_size=batch_size,
        train_dataloader__dataset__filter_cfg=dict(filter_empty_gt=False),
        optim_wrapper__optimizer__lr=0.0,
        model__backbone__norm_eval=True,
    )
    cfg.optim_wrapper.clip_grad = None
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False),
        dict(type='PackDetInputs'),
    ]
    return cfg


def test_mim_train_in_two_processes_without_a_gpu(data, tmp_path):
    """With the editable installation, whose scripts are the clone's own."""
    cfg = config(data, tmp_path / 'two', batch_size=2)
    cfg.dump(tmp_path / 'two.py')
    output = (
        editable()
        .run(
            *('-m', 'mim', 'train', 'mmdet_srn', tmp_path / 'two.py'),
            *('--launcher', 'pytorch', '--gpus', '2'),
            CUDA_VISIBLE_DEVICES='-1',
            OMP_NUM_THREADS='1',
        )
        .stdout
    )
    assert 'Training finished successfully' in output
    assert str(clean_sources().resolve() / 'tools/train.py') in output
    assert re.search(r'Distributed training: True\s+GPU number: 2', output)
    assert re.search(r'Epoch\(train\) \[1\]\[3/3\]', output)

    Runner.from_cfg(config(data, tmp_path / 'one', batch_size=4)).train()
    two, one = (
        torch.load(tmp_path / name / 'epoch_1.pth', weights_only=False)
        for name in ('two', 'one')
    )
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])
    for index, state in one['optimizer']['state'].items():
        expected = state['momentum_buffer']
        torch.testing.assert_close(
            two['optimizer']['state'][index]['momentum_buffer'],
            expected,
            rtol=0,
            atol=1e-5 * max(expected.abs().max().item(), 1e-3),
        )
    metrics = [
        [row for row in logged(tmp_path / name) if 'widerface/AP' in row]
        for name in ('two', 'one')
    ]
    for rows in metrics:
        for row in rows:
            row.pop('time'), row.pop('data_time')
    assert metrics[0] == metrics[1]
    assert metrics[0][0]['widerface/faces'] == 15


@pytest.mark.parametrize(
    ('arguments', 'rank'),
    [(['--launcher', 'none'], '0'), ([], '0'), (['--launcher=pytorch'], None)],
)
def test_only_launched_processes_are_joined(monkeypatch, arguments, rank):
    words = ['train.py', 'config.py', *arguments]
    monkeypatch.setattr(sys, 'argv', words)
    monkeypatch.setattr(
        os, 'environ', {**os.environ, **({'RANK': rank} if rank else {})}
    )
    if rank is None:
        os.environ.pop('RANK', None)
    join_processes_without_gpu()
    assert sys.argv == words
    assert not torch.distributed.is_initialized()


def test_processes_are_left(tmp_path):
    leave_processes()  # nothing to leave
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    leave_processes()
    assert not torch.distributed.is_initialized()
