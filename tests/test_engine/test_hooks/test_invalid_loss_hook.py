"""A NaN stops the run and reaches no checkpoint."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.runner import Runner

from tests.training import small_config


@pytest.mark.parametrize('earlier', [False, True])
def test_diverging_run_stops_with_all_that_helps(data, tmp_path, earlier):
    """A learning rate far too high, from the start or in the second epoch."""
    cfg = small_config(
        'srn_r50_fpn_widerface',
        data,
        tmp_path,
        train_cfg__max_epochs=2,
        train_cfg__val_interval=9,
        train_dataloader__sampler__shuffle=False,
        optim_wrapper__optimizer__lr=1e20,
    )
    cfg.param_scheduler = []
    if earlier:  # for an epoch, two iterations, before
        harmless = dict(factor=1e-30, by_epoch=False, begin=0, end=3)
        cfg.param_scheduler = [dict(type='ConstantLR', **harmless)]
    runner = Runner.from_cfg(cfg)
    with pytest.raises(FloatingPointError) as caught:
        runner.train()
    message = str(caught.value)
    where = 'epoch 2, iteration 4' if earlier else 'epoch 1, iteration 2'
    assert f'not finite in {where} of 4 (lr 1e+20)' in message
    images = [f'{data}/WIDER_train/images/0--Noise/{i}.png' for i in (2, 3)]
    assert f'images: {", ".join(images)}' in message
    assert 'process 0: loss ' in message and 'loss_bbox_second ' in message
    checkpoint = tmp_path / 'epoch_1.pth'
    assert list(tmp_path.glob('*.pth')) == ([checkpoint] if earlier else [])
    assert f'from before: {checkpoint if earlier else "none"}' in message
    assert 'clip_grad' in message
    (log,) = tmp_path.glob('*/*.log')
    assert message in log.read_text()


def runner() -> SimpleNamespace:
    return SimpleNamespace(
        epoch=0,
        iter=0,
        max_iters=1,
        rank=0,
        work_dir='nowhere',
        logger=SimpleNamespace(error=print),
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1])),
    )


def call(loss: float, **state) -> None:
    hook = HOOKS.build(dict(type='InvalidLossHook'))
    hook.after_train_iter(runner(), 0, **state, outputs=dict(loss=torch.tensor(loss)))


@pytest.mark.parametrize('loss', [float('nan'), float('inf'), -float('inf')])
def test_what_is_no_loss(loss):
    for finite in (0.0, -1.0, 3e38):
        call(finite)
    with pytest.raises(FloatingPointError, match='images: unknown'):
        call(loss)
    with pytest.raises(FloatingPointError, match='iteration 1 of 1'):
        call(loss, data_batch=[1, 2])


@pytest.mark.parametrize('name', ['state_dict', 'ema_state_dict'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_no_such_weights_are_saved(name, value):
    """As where the last step of an epoch spoilt them, after a finite loss."""
    hook = HOOKS.build(dict(type='InvalidLossHook'))
    good = dict(weight=torch.ones(2), steps=torch.tensor(3))
    hook.before_save_checkpoint(runner(), dict(state_dict=good, ema_state_dict=good))
    bad = {f'{i}.weight': torch.tensor([1.0, value]) for i in range(7)}
    with pytest.raises(FloatingPointError) as caught:
        meta = dict(epoch=4, iter=8)
        checkpoint = {'meta': meta, 'state_dict': good, name: bad}
        hook.before_save_checkpoint(runner(), checkpoint)
    message = str(caught.value)
    assert '7 weights are not finite after epoch 4, iteration 8' in message
    assert f'{name}: 0.weight' in message and 'and 2 more' in message
