"""Refuse weights that do not fit the model."""

import socket
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint

from ...checkpoint_file import UnfitError, check_fit, find_misfits
from ...file_hash import hash_files


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Stop if a checkpoint does not fit the model, in tests as well.

    mmengine logs 'size mismatch' and goes on with random weights. Each process loads
    its own file: they must hold the same, or nodes without a shared folder would train
    different models, from different epochs. If a checkpoint follows (``--resume``,
    ``load_from``), weights of ``Pretrained`` or ``PretrainedBackbone`` are not loaded
    first.

    Args:
        allow_partial: Let a training start (``load_from``) from a checkpoint that fits
            in part; a warning lists what was left out.

    Raises:
        ValueError: If a checkpoint does not fit, or is not the same for all processes;
            if ``--resume`` finds none, and the config has a ``load_from``; names the
            files.
    """

    priority = 'LOWEST'  # behind AtomicCheckpointHook, which mends last_checkpoint

    def __init__(self, allow_partial: bool = False) -> None:
        self.allow_partial = allow_partial

    def before_run(self, runner: Runner) -> None:
        """Compare the processes' files; drop initial weights that would be replaced."""
        path = runner._load_from
        if runner._resume and not path:
            has_one = Path(runner.work_dir, 'last_checkpoint').is_file()
            path = find_latest_checkpoint(runner.work_dir) if has_one else None
        if not runner._has_loaded:
            _check_same(path)
        if runner._resume and not path:
            _refuse_dropped_start(runner)
        if not path or self._is_partial(runner):
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


def _refuse_dropped_start(runner: Runner) -> None:
    """Raise a ValueError if mmdet's ``--resume`` has dropped the config's start."""
    file = runner.cfg.filename
    start = Config.fromfile(file).get('load_from') if file else None
    if start:
        raise ValueError(
            f'{runner.work_dir} has nothing to resume, and --resume drops load_from of '
            f'{file} ({start}): start without --resume'
        )


def _check_same(path: str | None) -> None:
    """Raise a ValueError, in all processes, unless their files hold the same.

    Addresses and folders count as no file.
    """
    if get_world_size() == 1:
        return
    file = Path(path or '').expanduser()
    content = f'SHA-256 {hash_files(file)}' if file.is_file() else 'no file'
    own = (content, f'{path or "no last_checkpoint"} on {socket.gethostname()}')
    different: dict[str, str] = {}
    for rank, (digest, place) in enumerate(all_gather_object(own)):
        different.setdefault(digest, f'process {rank}: {place}: {digest}')
    if len(different) > 1:
        raise ValueError(
            'the processes would go on from different checkpoints:\n  '
            + '\n  '.join(different.values())
            + '\nUse a folder that all nodes share, or copy one of these files to the '
            'same place on all nodes, for --resume also last_checkpoint beside it'
        )
