"""Checkpoints that neither an interruption nor a second run can spoil."""

import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from ...folder_lock import lock_folder
from ..atomic_backend import ATOMIC_BACKEND, AtomicLocalBackend, remove_partial_files

# A killed run's loader workers may hold its lock for 5 more seconds.
_LOCK_TIMEOUT = 15.0


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that leaves a whole checkpoint behind whatever happens.

    mmengine's hook removes the oldest or last best checkpoint and then writes straight
    to the final name: after a full disk or ``kill -9`` a good name may hold half a
    file. Here

    - a checkpoint gets its name when it is complete and on the disk
      (:class:`AtomicLocalBackend`), and only then are outdated ones removed, so the
      disk must hold one more than ``max_keep_ckpts``, and briefly two best ones;
    - if writing fails, the run stops with a message, and earlier checkpoints stay;
    - only one training at a time writes to a folder, and it removes partial files
      first;
    - with ``--resume``, ``last_checkpoint`` and the best checkpoint are files of the
      run's own work folder, and none of another folder is ever removed. If a name
      points elsewhere (the folder was copied or moved) or to half a file, the file of
      that name or the newest whole checkpoint in the folder takes its place, with a
      warning. Warnings also tell if there is nothing to resume, or epochs had another
      number of iterations;
    - AP counts as better when greater, and ``save_best`` is checked before training. A
      figure that a validation lacks is skipped with a warning.

    Takes the arguments of ``CheckpointHook``. Checkpoints outside local folders
    (``backend_args``, or an ``out_dir`` with a prefix) are left to mmengine.

    Raises:
        OSError: In training, if a checkpoint cannot be written; names the file, the
            free space and the last whole checkpoint.
        FileNotFoundError: Before it, if the run to resume has no whole checkpoint.
        BlockingIOError: Before it, if another training is writing to the folder.
        ValueError: Before it, if ``save_best`` is no figure of the validation.
    """

    _default_greater_keys = (
        *CheckpointHook._default_greater_keys,
        *('/AP', '/easy', '/medium', '/hard'),  # of WIDERFaceMetric
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        local = '://' not in str(self.out_dir or '')
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC_BACKEND)
        self._lock = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """Mend ``last_checkpoint`` before the run resumes."""
        # Named checkpoints and other places are left to mmengine.
        if runner._resume and runner._load_from is None and self._is_atomic():
            self._mend_pointer(Path(runner.work_dir), self._folder(runner))
            barrier()  # the other processes read it now

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder, and check what only a long training would show."""
        self._check_save_best(runner)
        if self.by_epoch:
            _compare_iterations(runner)
        if self._is_atomic():
            folder = self._folder(runner)
            if is_main_process():
                folder.mkdir(parents=True, exist_ok=True)
                lock = lock_folder(folder, '.training.lock', _LOCK_TIMEOUT, again=True)
                self._lock.enter_context(lock)
                for path in remove_partial_files(folder):
                    _warn(f'{path}, left by a process that ended early, is removed')
            _keep_best_inside(runner, folder)
        super().before_train(runner)
        self.file_backend = _LateRemoval(self.file_backend)

    def after_train(self, runner: Runner) -> None:
        """Publish checkpoints and release the folder."""
        super().after_train(runner)
        self._lock.close()

    def after_train_epoch(self, runner: Runner) -> None:
        """Save a checkpoint if it is time."""
        with self._saving(runner):
            super().after_train_epoch(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint if it is time, in iteration-based training."""
        with self._saving(runner):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save the best checkpoint if this is one."""
        wanted = getattr(self, 'key_indicators', [])
        missing = [key for key in wanted if key not in (*metrics, 'auto')]
        if missing and metrics:
            _warn(
                f'no best checkpoint by {", ".join(missing)}: the validation of epoch '
                f'{runner.epoch} gave only {", ".join(metrics)}'
            )
            # mmengine skips None
            metrics = {**metrics, **dict.fromkeys(missing)}
        with self._saving(runner):
            super().after_val_epoch(runner, metrics)

    @contextmanager
    def _saving(self, runner: Runner) -> Iterator[None]:
        """Remove outdated files after all are written, or say why they are not."""
        try:
            yield
        except OSError as error:
            last = find_latest_checkpoint(runner.work_dir) or 'none'
            free = ''
            if self._is_atomic():
                mebibytes = shutil.disk_usage(self.out_dir).free / 2**20
                free = f' ({mebibytes:.0f} MiB are free)'
            message = (
                f'no checkpoint could be written: {error}{free}. The last whole '
                f'checkpoint: {last}. Once there is room, --resume goes on from it'
            )
            runner.logger.error(message)
            raise OSError(error.errno, message) from error
        backend = getattr(self, 'file_backend', None)  # missing outside of training
        if isinstance(backend, _LateRemoval):
            backend.remove_now(keep=self._current())

    def _is_atomic(self) -> bool:
        return (self.backend_args or {}).get('backend') == ATOMIC_BACKEND

    def _current(self) -> set[str]:
        """Return checkpoints in use, so not outdated under the same name."""
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        paths = (self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best)
        return {str(path) for path in paths if path}

    def _folder(self, runner: Runner) -> Path:
        """Return the checkpoint folder before mmengine sets ``out_dir``."""
        work_dir = Path(runner.work_dir)
        return work_dir if self.out_dir is None else Path(self.out_dir, work_dir.name)

    def _check_save_best(self, runner: Runner) -> None:
        """Check that the validation gives the figures that ``save_best`` names."""
        if not self.save_best or runner.val_loop is None:
            return
        known = ['auto']
        for metric in runner.val_loop.evaluator.metrics:
            if not hasattr(metric, 'figures'):
                return  # any figure is possible
            known += [f'{metric.prefix}/{name}' for name in metric.figures]
        for key in set(self.key_indicators).difference(known):
            raise ValueError(
                f'default_hooks.checkpoint.save_best: the validation gives no "{key}", '
                f'only {", ".join(known[1:]) or "nothing"}'
            )

    def _mend_pointer(self, work_dir: Path, folder: Path) -> None:
        """Make ``last_checkpoint`` name a whole checkpoint of this folder."""
        pointer = work_dir / 'last_checkpoint'
        named = pointer.read_text(encoding='utf-8').strip() if pointer.is_file() else ''
        own = folder / Path(named).name
        if named and _is_whole(own) and Path(named).resolve() == own.resolve():
            return
        pattern = re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)')
        numbers = {
            int(match[1]): path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if (match := re.fullmatch(pattern, path.name)) and _is_whole(path)
        }
        problem = f'{pointer} names no whole checkpoint in {folder} ("{named}")'
        if numbers:
            found = own if own in numbers.values() else numbers[max(numbers)]
            _warn(f'{problem}: now it names {found}')
            if is_main_process():
                AtomicLocalBackend().put_text(str(found), pointer)
        elif pointer.is_file():
            raise FileNotFoundError(
                f'{problem}, and there is no other: remove {pointer} to start anew, or '
                'name the checkpoint: --resume FILE'
            )
        else:
            _warn(
                f'--resume found no checkpoint in {folder}: the training starts from '
                'its beginning'
            )


class _LateRemoval:
    """A file backend that delays removals until ``remove_now``."""

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self._outdated: list[tuple[Callable[[str], None], str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._outdated.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._outdated.append((self._backend.rmtree, path))

    def remove_now(self, keep: set[str]) -> None:
        while self._outdated:
            remove, path = self._outdated.pop()
            if path not in keep:
                remove(path)


def _keep_best_inside(runner: Runner, folder: Path) -> None:
    """Make a resumed run forget best checkpoints outside its folder."""
    hub = runner.message_hub
    for key in [key for key in hub.runtime_info if key.startswith('best_ckpt')]:
        named = Path(hub.get_info(key))
        own = folder / named.name
        if named.parent.resolve() == folder.resolve():
            continue
        if own.exists():
            hub.update_info(key, str(own))
            _warn(f'{key} was {named}: now it is {own}')
        else:
            hub.pop_info(key)
            hub.pop_info(key.replace('best_ckpt', 'best_score'))
            problem = f'{key} was {named}, which {folder} does not have'
            _warn(f'{problem}: the best of what follows counts')


def _compare_iterations(runner: Runner) -> None:
    """Warn if a resumed run had another number of iterations per epoch."""
    epoch, done = runner.epoch, runner.iter
    now = len(runner.train_dataloader)
    if isinstance(runner.train_loop, EpochBasedTrainLoop) and done != epoch * now:
        end = round(done / max(epoch, 1) * runner.max_epochs)
        _warn(
            f'the run is resumed after {done} iterations in {epoch} epochs, but an '
            f'epoch has {now} now (another batch size, number of processes or data '
            f'set?): schedules by iteration still end after {end}, the training after '
            f'{done + (runner.max_epochs - epoch) * now}. Resume with the former batch '
            'size, or start from the weights alone (load_from, without --resume)'
        )


def _is_whole(checkpoint: Path) -> bool:
    """Check for the end of a ZIP archive, torch's format, or DeepSpeed's folder."""
    return checkpoint.is_dir() or zipfile.is_zipfile(checkpoint)


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
