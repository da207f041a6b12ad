"""Refuse weights that do not fit the model."""

from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ...checkpoint_file import UnfitError, check_fit, find_misfits


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Stop if a checkpoint does not fit the model, in tests as well.

    mmengine logs 'size mismatch' and goes on with random weights. If a checkpoint
    follows (``--resume``, ``load_from``), weights of ``Pretrained`` or
    ``PretrainedBackbone`` are not loaded first.

    Args:
        allow_partial: Let a training start (``load_from``) from a checkpoint that fits
            in part; a warning lists what was left out.

    Raises:
        ValueError: If a checkpoint does not fit.
    """

    priority = 'LOWEST'  # behind AtomicCheckpointHook, which mends last_checkpoint

    def __init__(self, allow_partial: bool = False) -> None:
        self.allow_partial = allow_partial

    def before_run(self, runner: Runner) -> None:
        """Drop initial weights that would be replaced."""
        last = Path(runner.work_dir) / 'last_checkpoint'
        follows = runner._load_from or (runner._resume and last.is_file())
        if not follows or self._is_partial(runner):
            return
        for module in runner.model.modules():
            if 'Pretrained' in str(getattr(module, 'init_cfg', None)):
                module.init_cfg = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Compare the checkpoint with the model, which does not have it yet."""
        path = runner._load_from or f'the last checkpoint of {runner.work_dir}'
        try:
            problems = find_misfits(runner.model, checkpoint)
            if not self._is_partial(runner):
                check_fit(runner.model, checkpoint)
        except UnfitError as error:
            raise ValueError(
                f"{path} does not fit the config's model: {error}. To start a training "
                'from the part that fits, set '
                'default_hooks.checkpoint_fit.allow_partial=True'
            ) from error
        if problems:
            lines = [f'{len(n)} {kind}: {", ".join(n)}' for kind, n in problems.items()]
            lines.insert(0, f'{path} was loaded in part. Left out:')
            runner.logger.warning('\n  '.join(lines))

    def _is_partial(self, runner: Runner) -> bool:
        """Return whether a part is enough: only at the start of a training."""
        trains = isinstance(runner._train_loop, BaseLoop)
        return self.allow_partial and trains and not runner._resume
