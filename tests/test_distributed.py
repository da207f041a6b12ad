"""Two processes compute what one does with both batches; gloo, on CPUs.

Real launchers, real processes, DistributedDataParallel as mmengine wraps with it. Most
are on two nodes, one of which was killed and replaced.
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
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_srn._mmdet_tools import join_processes_without_gpu, leave_processes
from tests.ddp_cases import CASES, PROCESSES, run
from tests.test_install.environment import clean_sources, editable
from tests.training import ROOT, SIZE, logged, small_config, write_data_set


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 3 iterations of 4 images; validation does not divide by the processes
    faces = [3, 1, 0, 4, 1, 5, 0, 0, 2, 6, 1, 1]
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', faces, num_val=5)


#: Options of a training that can import the tests.
WITH_LOSSES = dict(
    default_hooks__losses=dict(type='LossesHook'),
    custom_imports__imports=['mmdet_srn', 'tests.training', 'tests.ddp_cases'],
)


def config(
    data: Path, work_dir: Path, batch_size: int, epochs: int = 2, **options: Any
) -> Config:
    """A training in which nothing but the order of the images is random.

    For 4 images a step the learning rate is 0.01, without a warm-up.
    """
    cfg = small_config(
        'srn_r50_fpn_widerface',
        data,
        work_dir,
        randomness__seed=3,
        train_cfg__max_epochs=epochs,
        train_dataloader__batch_size=batch_size,
        train_dataloader__dataset__filter_cfg=dict(filter_empty_gt=False),
        optim_wrapper__optimizer__lr=0.08,  # of 32 images
        auto_scale_lr__enable=True,
        model__backbone__norm_eval=True,
        **options,
    )
    del cfg.param_scheduler[0]
    cfg.optim_wrapper.clip_grad = None
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False),
        dict(type='PackDetInputs'),
    ]
    return cfg


@pytest.fixture(scope='module')
def joint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of one process with the batches of two."""
    work_dir = tmp_path_factory.mktemp('joint') / 'run'
    Runner.from_cfg(config(data, work_dir, 4, **WITH_LOSSES)).train()
    return work_dir


def rows_of(work_dir: Path, rank: int) -> list[dict[str, float]]:
    lines = (work_dir / f'losses_{rank}.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def check_equal(work_dir: Path, joint: Path, epoch: int) -> None:
    """Compares weights and figures after an epoch with those of one process."""
    one, two = (
        torch.load(folder / f'epoch_{epoch}.pth', weights_only=False)['state_dict']
        for folder in (joint, work_dir)
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
    one, two = (
        [row for row in logged(folder) if 'widerface/AP' in row][epoch - 1]
        for folder in (joint, work_dir)
    )
    for name in one.keys() - {'time', 'data_time'}:
        assert two[name] == one[name] or two[name] == pytest.approx(one[name], abs=1e-6)
    assert one['widerface/faces'] == 15
    rates = {row['lr'] for row in (*logged(joint), *logged(work_dir)) if 'loss' in row}
    assert rates == {0.01}


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
            # one that is silent for 5 seconds is dead
            *(
                '--rdzv-conf',
                f'is_host={is_first:d},keep_alive_interval=1,keep_alive_max_attempt=5',
            ),
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
                    # or new nodes do not find the old ones (PyTorch 2.13)
                    'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1',
                },
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return (self.folder / 'output').read_text()


@pytest.fixture(scope='module')
def nodes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on two nodes, 'run', and of the nodes.

    One is killed at the end of the second epoch, before its checkpoint; another takes
    its place, and both go on from the first one's.
    """
    folder = tmp_path_factory.mktemp('nodes')
    kill = dict(type='KillHook', epoch=1, iteration=2, parent=True)

    def on_node(**hook: dict) -> Config:
        return config(data, folder / 'run', 2, **WITH_LOSSES, **hook)

    shared = on_node(default_hooks__cases=dict(type='CasesHook'))
    dying = on_node(default_hooks__kill=kill)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    started = []
    try:
        started.append(Node(shared, folder / 'first', port, is_first=True))
        started.append(Node(dying, folder / 'killed', port, is_first=False))
        assert started[1].process.wait(300) == -signal.SIGKILL, started[1].output
        started.append(Node(shared, folder / 'new', port, is_first=False))
        for node in (started[0], started[2]):
            assert node.process.wait(300) == 0, node.output
    finally:
        for node in started:
            node.process.terminate()  # its worker as well
    assert 'resumed epoch: 1, iter: 3' in started[0].output
    return folder


def test_two_nodes_compute_what_one_process_does(nodes, joint):
    both = [rows_of(nodes / 'run', rank)[:6] for rank in range(PROCESSES)]
    for one, mine, yours in zip(rows_of(joint, 0), *both, strict=True):
        mean = (mine['loss'] + yours['loss']) / 2
        assert mean == pytest.approx(one['loss'], rel=1e-6)
    check_equal(nodes / 'run', joint, epoch=2)
    # Nobody wrote results where the others would have had to look for them.
    assert not list(nodes.glob('*/.dist_test'))


def test_a_new_node_repeats_the_interrupted_epoch(nodes):
    """To the bit, on both nodes."""
    for rank in range(PROCESSES):
        rows = rows_of(nodes / 'run', rank)
        assert [row['step'] for row in rows] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
        assert rows[3:6] == rows[6:]


@pytest.fixture(scope='module')
def found(nodes) -> list[dict[str, Any]]:
    """What each process of tests/ddp_cases.py computed."""
    return [
        torch.load(nodes / 'run' / f'found_{rank}.pth', weights_only=False)
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


def test_mim_train_in_two_processes_without_a_gpu(data, joint, tmp_path):
    """With the editable installation, whose scripts are the clone's own."""
    config(data, tmp_path / 'two', 2, epochs=1).dump(tmp_path / 'two.py')
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
    check_equal(tmp_path / 'two', joint, epoch=1)


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
