"""A Runner with atomic checkpoints for a model of the test's own."""

from pathlib import Path
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import nn


def small_runner(
    work_dir: Path,
    model: nn.Module,
    loop: str,
    evaluator: Evaluator,
    epochs: int,
    images: int = 1,
    checkpoint: dict | None = None,
    hooks: dict | None = None,
    **options: Any,
) -> Runner:
    """Build a Runner for training and another loop, 'val' or 'test'."""
    loader = dict(
        batch_size=1,
        dataset=[0] * images,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    hook = dict(type='AtomicCheckpointHook', interval=1, **(checkpoint or {}))
    return Runner(
        model=model,
        work_dir=str(work_dir),
        experiment_name=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=hook, logger=None, **(hooks or {})),
        default_scope='mmdet',
        log_level='WARNING',
        **{
            f'{loop}_dataloader': loader,
            f'{loop}_cfg': dict(),
            f'{loop}_evaluator': evaluator,
        },
        **options,
    )
