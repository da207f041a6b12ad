"""A resumed run goes on as the uninterrupted one would have."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmdet_srn.engine import EpochSeedHook
from tests.training import losses, small_config


def two_epochs(data: Path, work_dir: Path, name: str, **options: Any) -> dict:
    """Losses of two epochs, whole or from the first one's checkpoint."""
    every = dict(train_cfg__max_epochs=2, train_cfg__val_interval=9)
    Runner.from_cfg(small_config(name, data, work_dir, **every, **options)).train()
    return losses(work_dir)


def started(data: Path, work_dir: Path, **options: Any) -> tuple[Runner, EpochSeedHook]:
    """A run of the base config before its first epoch, and its hook."""
    cfg = small_config('srn_r50_fpn_widerface', data, work_dir, **options)
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = next(h for h in runner.hooks if isinstance(h, EpochSeedHook))
    hook.before_run(runner)
    return runner, hook


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        # no seed given: mmengine draws one and keeps it
        ('srn_r50_fpn_widerface_ema', {'train_dataloader__num_workers': 2}),
        # in bfloat16; 2 iterations an epoch, filled up to a step of 4
        ('srn_r50_fpn_widerface_1gpu', {'optim_wrapper__accumulative_counts': 4}),
    ],
)
def test_resumed_losses_are_those_of_the_whole_run(data, tmp_path, name, options):
    if 'accumulative' in str(options):
        options['train_dataloader__sampler__step_size'] = 8
    whole = two_epochs(data, tmp_path / 'whole', name, **options)
    resumed = two_epochs(
        data,
        tmp_path / 'resumed',
        name,
        resume=True,
        load_from=str(tmp_path / 'whole' / 'epoch_1.pth'),
        **options,
    )
    half = len(whole) // 2
    assert len(whole) in (4, 8)
    assert list(resumed) == list(whole)[half:]
    assert resumed == {step: whole[step] for step in resumed}
    weights = [
        torch.load(tmp_path / run / 'epoch_2.pth', weights_only=False)['state_dict']
        for run in ('whole', 'resumed')
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def draws(**state: int) -> list[float]:
    """What the three generators give after an epoch's start."""
    loader = SimpleNamespace(sampler=None, batch_sampler=SimpleNamespace(sampler=None))
    runner = SimpleNamespace(
        **{'seed': 0, 'epoch': 0, 'iter': 0, 'rank': 0, **state},
        train_loop=SimpleNamespace(dataloader=loader),
    )
    EpochSeedHook().before_train_epoch(runner)
    return [random.random(), np.random.rand(), torch.rand(1).item()]


def test_every_epoch_process_and_seed_has_its_own_state():
    first = draws()
    assert draws() == first
    states = [dict(seed=1), dict(epoch=1), dict(iter=1), dict(rank=1)]
    drawn = [first] + [draws(**state) for state in states]
    for generator in zip(*drawn, strict=True):
        assert len(set(generator)) == len(drawn)


def test_workers_of_each_epoch_draw_anew(data, tmp_path):
    """mmengine's own worker_init_fn repeats the first epoch's augmentation."""
    workers = dict(train_dataloader__num_workers=2)
    options = dict(workers, train_dataloader__sampler__shuffle=False)
    runner, hook = started(data, tmp_path, **options)
    hook.before_train(runner)
    epochs = []
    for epoch in (0, 1, 0):
        runner.train_loop._epoch = epoch
        hook.before_train_epoch(runner)
        batches = [batch['inputs'] for batch in runner.train_dataloader]
        epochs.append([image for images in batches for image in images])
    first, other, again = epochs
    assert not any(map(torch.equal, first, other))
    assert all(map(torch.equal, first, again))


def test_persistent_workers_are_warned_of_and_a_samplers_own_seed_stays(data, tmp_path):
    loader = dict(num_workers=1, persistent_workers=True, sampler__seed=7)
    options = {f'train_dataloader__{name}': value for name, value in loader.items()}
    runner, hook = started(data, tmp_path, **options)
    runner._seed = 1234  # as a resumed checkpoint sets it
    hook.before_train(runner)
    assert runner.train_dataloader.sampler.seed == 7
    (log,) = tmp_path.glob('*/*.log')
    assert 'other augmentations' in log.read_text()
