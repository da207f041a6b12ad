"""The processes that a run consists of, as they could be typed."""

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .plan import Run


class Launch(NamedTuple):
    """How each run is started.

    Attributes:
        tools: Folder of train.py and test.py.
        options: As ``--cfg-options`` takes them, for every run.
        launcher: 'none' or 'pytorch'.
        gpus: Processes of a run, each on its GPU, under 'pytorch'.
        tta: Whether the test is the multi-scale one, with ``--tta``.
        batches: Training batches that Figure 1a looks at.
    """

    tools: Path
    options: Sequence[str] = ()
    launcher: str = 'none'
    gpus: int = 1
    tta: bool = False
    batches: int = 50


def train_command(run: Run, launch: Launch) -> list[str]:
    """Train a run, from its last checkpoint if there is one, and validate it."""
    options = [f'randomness.seed={run.seed}']
    if not launch.tta:  # otherwise the test writes them
        options.append(f'val_evaluator.outfile_prefix={run.folder / "detections"}')
    return [
        *_python(launch),
        str(launch.tools / 'train.py'),
        str(run.config),
        '--work-dir',
        str(run.folder),
        '--resume',
        *_launcher(launch),
        '--cfg-options',
        *launch.options,
        *options,
    ]


def test_command(run: Run, launch: Launch, checkpoint: Path) -> list[str]:
    """Test a run's last checkpoint.

    Needed under ``--tta``, where the run was tested by other settings, and where
    training ended between its last checkpoint and the validation of it.
    """
    return [
        *_python(launch),
        str(launch.tools / 'test.py'),
        str(run.config),
        str(checkpoint),
        '--work-dir',
        str(run.folder / 'test'),
        *(['--tta'] if launch.tta else []),
        *_launcher(launch),
        '--cfg-options',
        *launch.options,
        f'test_evaluator.outfile_prefix={run.folder / "detections"}',
    ]


def anchor_ratio_command(run: Run, launch: Launch, checkpoint: Path) -> list[str]:
    """Count positives and negatives before and after the first step."""
    options = ['--cfg-options', *launch.options] if launch.options else []
    return [
        sys.executable,
        '-m',
        'mmdet_srn.ablation.anchor_ratio',
        str(run.config),
        str(checkpoint),
        str(run.folder / 'anchor_ratio.json'),
        '--batches',
        str(launch.batches),
        '--seed',
        str(run.seed),
        *options,
    ]


def environment(slot: int, jobs: int, gpus: int) -> dict[str, str]:
    """The environment of one of several runs at a time: its share of the machine.

    Args:
        slot: Number of the place that it runs in, from 0.
        jobs: Runs at a time.
        gpus: GPUs of each.

    Returns:
        This process's environment. With several jobs it names the GPUs, in turn where
        there are not enough, and the threads.
    """
    env = dict(os.environ)
    if jobs == 1:
        return env
    env.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // jobs)))
    devices = _devices(env)
    if devices:
        chosen = [devices[(slot * gpus + i) % len(devices)] for i in range(gpus)]
        env['CUDA_VISIBLE_DEVICES'] = ','.join(dict.fromkeys(chosen))
    return env


def _devices(env: dict[str, str]) -> list[str]:
    if 'CUDA_VISIBLE_DEVICES' in env:
        return [name for name in env['CUDA_VISIBLE_DEVICES'].split(',') if name]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def _python(launch: Launch) -> list[str]:
    if launch.launcher == 'none':
        return [sys.executable]
    return [
        *(sys.executable, '-m', 'torch.distributed.run'),
        f'--nproc_per_node={launch.gpus}',
        f'--master_port={random.randint(20000, 30000)}',  # as mim chooses it
    ]


def _launcher(launch: Launch) -> list[str]:
    return [] if launch.launcher == 'none' else ['--launcher', launch.launcher]
