"""Two processes compute what one does with both batches; gloo, on CPUs.

Real launchers, real processes, DistributedDataParallel as mmengine wraps with it.
"""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
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


def test_all_processes_go_on_from_the_same_file(found):
    """Each has a folder of its own, as on nodes that share none."""
    one, other = (processes['checkpoints'] for processes in found)
    assert one == other
    assert one['same'] == one['http://host/file'] == 'no error'
    files = [
        rf'process {rank}: \S+/node_{rank}/other on \S+: '
        rf'SHA-256 {hashlib.sha256(str(rank).encode()).hexdigest()}'
        for rank in range(PROCESSES)
    ]
    assert re.search('different checkpoints:\n  ' + '\n  '.join(files), one['other'])
    assert re.search(
        r'process 0: \S+/node_0/same on \S+: SHA-256 \w{64}\n  '
        r'process 1: no last_checkpoint on \S+: no file\n',
        one[None],
    )


# ---------------------------------------------------------------- whole trainings


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 3 iterations of 4 images; validation does not divide by the processes
    faces = [3, 1, 0, 4, 1, 5, 0, 0, 2, 6, 1, 1]
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', faces, num_val=5)


def config(data: Path, work_dir: Path, batch_size: int, **options: Any) -> Config:
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
        model__backbone__norm_eval=True,
        **{'optim_wrapper__optimizer__lr': 0.0, **options},
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


class Node:
    """A torchrun with one process, in a working folder that no other node has.

    Args:
        cfg: What to train.
        folder: Its folder.
        port: Where the nodes meet.
        is_first: Whether it is the one where they meet.
    """

    def __init__(self, cfg: Config, folder: Path, port: int, is_first: bool) -> None:
        folder.mkdir()
        cfg.dump(folder / 'config.py')
        self.folder = folder
        command = [
            *(sys.executable, '-m', 'torch.distributed.run'),
            *('--nnodes', '2', '--nproc-per-node', '1', '--max-restarts', '1'),
            *('--rdzv-backend', 'c10d', '--rdzv-endpoint', f'127.0.0.1:{port}'),
            *('--rdzv-conf', f'is_host={is_first:d},keep_alive_interval=1'),
            *('--local-addr', '127.0.0.1', ROOT / 'tools' / 'train.py', 'config.py'),
            *('--launcher', 'pytorch', '--auto-scale-lr', '--resume'),
        ]
        with (folder / 'output').open('w') as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={
                    **os.environ,
                    'PYTHONPATH': str(ROOT),
                    'OMP_NUM_THREADS': '1',
                    'CUDA_VISIBLE_DEVICES': '-1',
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return (self.folder / 'output').read_text()


@pytest.fixture(scope='module')
def nodes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two nodes; one is killed at the end of an epoch, and another takes its place."""
    folder = tmp_path_factory.mktemp('nodes')

    def learning(batch_size: int, **options: Any) -> Config:
        cfg = config(
            data,
            folder / ('one' if batch_size == 4 else 'two'),
            batch_size,
            optim_wrapper__optimizer__lr=0.08,
            train_cfg__max_epochs=2,
            train_cfg__val_interval=2,
            default_hooks__losses=dict(type='LossesHook'),
            custom_imports__imports=['mmdet_srn', 'tests.training'],
            **options,
        )
        del cfg.param_scheduler[0]  # no warm-up
        return cfg

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    kill = dict(type='KillHook', epoch=1, iteration=2, parent=True)
    started = []
    try:
        started.append(Node(learning(2), folder / 'first', port, True))
        cfg = learning(2, default_hooks__kill=kill)
        started.append(Node(cfg, folder / 'killed', port, False))
        Runner.from_cfg(learning(4, auto_scale_lr__enable=True)).train()
        started[1].process.wait(300)
        started.append(Node(learning(2), folder / 'second', port, False))
        for node in started:
            node.process.wait(300)
    finally:
        for node in started:
            node.process.terminate()  # its worker as well
    return SimpleNamespace(folder=folder, started=started)


def test_a_node_is_killed_and_another_takes_its_place(nodes):
    codes = [node.process.returncode for node in nodes.started]
    assert codes == [0, -signal.SIGKILL, 0], nodes.started[0].output
    assert 'resumed epoch: 1, iter: 3' in nodes.started[0].output


def rows_of(work_dir: Path, rank: int) -> list[dict[str, float]]:
    lines = (work_dir / f'losses_{rank}.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_nodes_compute_what_one_process_does(nodes):
    """The losses, weights and evaluation of both batches; repeated to the bit."""
    one, other = (rows_of(nodes.folder / 'two', rank) for rank in range(2))
    for rows in (one, other):
        assert [row['step'] for row in rows] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
        assert rows[3:6] == rows[6:]
    joint = rows_of(nodes.folder / 'one', 0)
    assert joint[0]['loss'] > 1.01 * joint[5]['loss']
    for mine, yours, expected in zip(one[:6], other[:6], joint, strict=True):
        assert (mine['loss'] + yours['loss']) / 2 == pytest.approx(
            expected['loss'], rel=2e-6
        )
    two, one = (
        torch.load(nodes.folder / name / 'epoch_2.pth', weights_only=False)
        for name in ('two', 'one')
    )
    for name, value in one['state_dict'].items():
        torch.testing.assert_close(value, two['state_dict'][name], rtol=0, atol=1e-5)
    figures = [
        {name: row[name] for name in row if name.startswith('widerface/AP')}
        for name in ('two', 'one')
        for row in logged(nodes.folder / name)
        if 'widerface/AP' in row
    ]
    assert len(figures) == 2 and figures[0] == pytest.approx(figures[1], abs=1e-3)
    # None wrote results where the others had to find them.
    assert not list(nodes.folder.glob('*/.dist_test'))


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
