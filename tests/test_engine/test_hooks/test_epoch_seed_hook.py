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
from tests.training import losses, small_config, write_data_set


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', [3, 1, 4, 2])


def two_epochs(
    data: Path, work_dir: Path, name: str = 'srn_r50_fpn_widerface', **options: Any
) -> dict[int, dict[str, float]]:
    """Losses of two epochs, whole or from the first one's checkpoint."""
    cfg = small_config(
        name,
        data,
        work_dir,
        train_cfg__max_epochs=2,
        train_cfg__val_interval=9,
        **options,
    )
    Runner.from_cfg(cfg).train()
    return losses(work_dir)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        # no seed given: mmengine draws one and keeps it
        ('srn_r50_fpn_widerface', {'train_dataloader__num_workers': 2}),
        ('srn_r50_fpn_widerface_ema', {}),
        ('srn_r50_fpn_widerface_amp_bf16', {}),
        # 2 iterations an epoch, filled up to a step of 4
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


def test_without_the_hook_they_are_not(data, tmp_path):
    """What the hook is for: mmengine alone repeats the order only."""
    options = dict(randomness__seed=5, default_hooks__sampler_seed=None)
    whole, resumed = (
        two_epochs(data, tmp_path / run, **options, **more)
        for run, more in (
            ('whole', {}),
            (
                'resumed',
                dict(resume=True, load_from=str(tmp_path / 'whole' / 'epoch_1.pth')),
            ),
        )
    )
    assert set(resumed) == {3, 4}
    assert resumed[3] != whole[3]


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
    cfg = small_config(
        'srn_r50_fpn_widerface',
        data,
        tmp_path,
        train_dataloader__num_workers=2,
        train_dataloader__sampler__shuffle=False,
    )
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = next(h for h in runner.hooks if isinstance(h, EpochSeedHook))
    hook.before_run(runner)
    hook.before_train(runner)
    epochs = []
    for epoch in (0, 1, 0):
        runner.train_loop._epoch = epoch
        hook.before_train_epoch(runner)
        batches = [batch['inputs'] for batch in runner.train_dataloader]
        epochs.append([image for images in batches for image in images])
    same = [
        [torch.equal(a, b) for a, b in zip(epochs[0], other, strict=True)]
        for other in epochs[1:]
    ]
    assert not any(same[0])
    assert all(same[1])


def test_persistent_workers_are_warned_of(data, tmp_path):
    cfg = small_config(
        'srn_r50_fpn_widerface',
        data,
        tmp_path,
        train_dataloader__num_workers=1,
        train_dataloader__persistent_workers=True,
    )
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = EpochSeedHook()
    hook.before_run(runner)
    hook.before_train(runner)
    (log,) = tmp_path.glob('*/*.log')
    assert 'will see other augmentations' in log.read_text()


def test_a_samplers_own_seed_stays(data, tmp_path):
    cfg = small_config(
        'srn_r50_fpn_widerface', data, tmp_path, train_dataloader__sampler__seed=7
    )
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    hook = EpochSeedHook()
    hook.before_run(runner)
    runner._seed = 1234  # as a resumed checkpoint gives it
    hook.before_train(runner)
    assert runner.train_dataloader.sampler.seed == 7
