"""Checkpoints that an interruption cannot spoil."""

import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import BaseStorageBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from ..atomic_backend import (
    ATOMIC_BACKEND,
    AtomicLocalBackend,
    remove_partial_files,
)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that leaves a whole checkpoint behind whatever happens.

    mmengine's writes straight to the final name, after it has removed the oldest
    checkpoint or the last best one. A full disk or a ``kill -9`` in between leaves
    half a file under a good name, and with ``max_keep_ckpts=1`` nothing else. Here

    - a checkpoint, a best one too, gets its name when it is whole and on the disk
      (:class:`AtomicLocalBackend`);
    - what it replaces is removed after that, so the disk has to hold one more than
      ``max_keep_ckpts``, and two best ones for a moment;
    - where one cannot be written the run stops, with a message and an exit status,
      and the earlier ones are as they were;
    - partial files of an earlier process are removed at the start;
    - with ``--resume``, the file ``last_checkpoint`` is made to name the newest whole
      checkpoint in the work folder where it names none: it was interrupted itself, the
      folder was moved or copied in part, or mmengine's own hook had written there. A
      warning says so.

    Arguments are those of ``CheckpointHook``. Checkpoints that go elsewhere than to a
    local folder (``backend_args``, or an ``out_dir`` with a prefix) are written as
    mmengine does it.

    Raises:
        OSError: In the training loop, if a checkpoint cannot be written. It names the
            file, the free space and the last whole checkpoint.
        FileNotFoundError: Before it, if a run is to be resumed whose
            ``last_checkpoint`` names no whole checkpoint, and there is no other.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        local = '://' not in str(self.out_dir or '')
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC_BACKEND)

    def before_run(self, runner: Runner) -> None:
        """Look after the checkpoint that is going to be resumed.

        Args:
            runner (Runner): The runner; it has not resumed yet.
        """
        # One that is named, and other folders, are left to mmengine.
        if runner._resume and runner._load_from is None and self.out_dir is None:
            self._mend_pointer(Path(runner.work_dir))
            barrier()  # the other processes read it now

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder.

        Args:
            runner (Runner): The runner.
        """
        super().before_train(runner)
        self.file_backend = _LateRemoval(self.file_backend)
        if is_main_process() and self._is_atomic():
            for path in remove_partial_files(self.out_dir):
                _log(f'{path}, left by a process that ended while it wrote, is removed')

    def after_train_epoch(self, runner: Runner) -> None:
        """Save a checkpoint if it is time.

        Args:
            runner (Runner): The runner.
        """
        with self._saving(runner):
            super().after_train_epoch(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint if it is time, in iteration-based training.

        Args:
            runner (Runner): The runner.
            *args: As in ``CheckpointHook``.
            **kwargs: As in ``CheckpointHook``.
        """
        with self._saving(runner):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save the best checkpoint if it is one.

        Args:
            runner (Runner): The runner.
            metrics (dict[str, Any]): Results of the validation.
        """
        with self._saving(runner):
            super().after_val_epoch(runner, metrics)

    @contextmanager
    def _saving(self, runner: Runner) -> Iterator[None]:
        """Remove what is outdated once all is written, or say why it is not."""
        try:
            yield
        except OSError as error:
            last = find_latest_checkpoint(runner.work_dir) or 'none'
            message = (
                f'no checkpoint could be written in epoch {runner.epoch + 1}: '
                f'{error}{self._free_space()}. The last whole checkpoint: {last}. '
                'Once there is room, --resume goes on from it'
            )
            runner.logger.error(message)
            raise OSError(error.errno, message) from error
        backend = getattr(self, 'file_backend', None)  # not there outside of training
        if isinstance(backend, _LateRemoval):
            backend.remove_now(keep=self._current())

    def _is_atomic(self) -> bool:
        return (self.backend_args or {}).get('backend') == ATOMIC_BACKEND

    def _free_space(self) -> str:
        if not self._is_atomic():
            return ''
        return f' ({shutil.disk_usage(self.out_dir).free / 2**20:.0f} MiB are free)'

    def _current(self) -> set[str]:
        """Checkpoints that are in use, so not outdated under the same name."""
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        paths = (self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best)
        return {str(path) for path in paths if path}

    def _mend_pointer(self, folder: Path) -> None:
        """Let ``last_checkpoint`` name a whole checkpoint if the folder has one."""
        pointer = folder / 'last_checkpoint'
        named = pointer.read_text(encoding='utf-8').strip() if pointer.is_file() else ''
        if named and _is_whole(Path(named)):
            return
        pattern = re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)')
        numbers = {
            int(match[1]): path
            for path in folder.iterdir()
            if (match := re.fullmatch(pattern, path.name)) and _is_whole(path)
        }
        problem = f'{pointer} names no whole checkpoint ("{named}")'
        if numbers:
            newest = numbers[max(numbers)]
            _log(f'{problem}: now it names {newest}', logging.WARNING)
            if is_main_process():
                AtomicLocalBackend().put_text(str(newest), pointer)
        elif pointer.is_file():
            raise FileNotFoundError(
                f'{problem}, and there is no other in {folder}: remove {pointer} to '
                'start anew'
            )


class _LateRemoval:
    """A file backend that keeps what it is told to remove, until ``remove_now``."""

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


def _is_whole(checkpoint: Path) -> bool:
    """Whether it is a file of torch's, which are ZIP archives, with its end."""
    return checkpoint.is_dir() or zipfile.is_zipfile(checkpoint)  # DeepSpeed: folders


def _log(message: str, level: int = logging.INFO) -> None:
    print_log(message, logger='current', level=level)
