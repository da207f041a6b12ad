"""What a run leaves in its folder, and what is read of it.

==================== ========================================================
settings.json        all that the run is made of, written before it starts
log.txt              what its processes printed
detections/          its detections on the test images, in WIDER FACE's format
detections.json      the metrics of these, both by ``WIDERFaceMetric``
anchor_ratio.json    the counts of Figure 1a, if they were asked for
result.json          metrics and budget; the run is finished if this is there
==================== ========================================================

The checkpoints and logs of mmengine's Runner lie beside them.
"""

import json
import os
import shutil
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ..checkpoint_file import torch_load
from ..version import __version__
from .identity import identify
from .plan import Run


class State(Enum):
    """How far a run is."""

    NEW = 'new'
    INTERRUPTED = 'interrupted'
    UNTESTED = 'trained, to be tested again'
    FINISHED = 'finished'
    STALE = 'made with other settings'


def state_of(run: Run) -> State:
    """How far a run is, by what is in its folder.

    Args:
        run: The run.

    Returns:
        STALE if the folder holds a training of other settings, finished or not;
        UNTESTED if it holds this one, finished, but tested by other settings (STALE
        without the checkpoint, as its figures would be lost).
    """
    old = old_settings(run)
    if old is None:
        return State.NEW
    found = identify(old)
    if found.training != run.identity.training:
        return State.STALE
    result = _read(run.folder / 'result.json')
    if result is None:
        return State.INTERRUPTED
    if found.test == run.identity.test:
        return State.FINISHED
    return State.UNTESTED if _has_checkpoint(run, result) else State.STALE


def old_settings(run: Run) -> dict[str, Any] | None:
    """The settings of what is in a run's folder; None if there is nothing."""
    return _read(run.folder / 'settings.json')


def write_settings(run: Run) -> None:
    """Say what the folder's run is made of, and write the cell's config.

    What a test by other settings has left is removed: its detections would be taken
    for the run's own.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    write_config(run)
    old = old_settings(run)
    if old is not None and identify(old).test != run.identity.test:
        # First what says that the run is finished.
        for name in ('result.json', 'detections.json'):
            (run.folder / name).unlink(missing_ok=True)
        shutil.rmtree(run.folder / 'detections', ignore_errors=True)
    _write(run.folder / 'settings.json', run.settings)


def write_config(run: Run) -> None:
    """Write the cell's config, which a run of another seed may read meanwhile."""
    path = run.config
    if path.is_file() and path.read_text(encoding='utf-8') == run.text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another seed may write it as well.
    part = path.with_name(f'.{path.name}.{os.getpid()}-{threading.get_ident()}.part')
    part.write_text(run.text, encoding='utf-8')
    os.replace(part, path)


def read_result(run: Run) -> dict[str, Any] | None:
    """What :func:`write_result` wrote.

    Returns:
        None if the run is not finished, or the folder holds another one.
    """
    return _read_own(run, 'result.json')


def read_anchor_ratio(run: Run) -> dict[str, Any] | None:
    """The counts of Figure 1a; None if the folder has none of this run."""
    return _read_own(run, 'anchor_ratio.json')


def read_cost(run: Run) -> tuple[float, bool]:
    """Time and resumption of a finished training, however it was tested."""
    result = _read(run.folder / 'result.json')
    return result['seconds'], result['resumed']


def write_result(run: Run, seconds: float, resumed: bool) -> dict[str, Any]:
    """Finish a run: put together what a table needs.

    Args:
        run: The run, trained and tested.
        seconds: Time that training and test took, since it was last started.
        resumed: Whether it had been started before.

    Returns:
        The result.

    Raises:
        FileNotFoundError: If it left no metrics or no checkpoint.
    """
    measured = _read(run.folder / 'detections.json')
    if measured is None:
        raise FileNotFoundError(f'{run.folder}: the test left no detections.json')
    iterations, epochs = _progress_of(checkpoint_of(run))
    processes = run.settings.get('processes', 1)
    batch = run.cfg.train_dataloader.batch_size * processes
    result = dict(
        name=run.name,
        seed=run.seed,
        version=__version__,
        iterations=iterations,
        epochs=epochs,
        batch=batch,
        seconds=round(seconds, 1),
        resumed=resumed,
        protocol=measured.pop('protocol'),
        test_images=measured.pop('images'),
        metrics=measured,
        survivors=_last_logged(run, 'stc_survivors'),
    )
    _write(run.folder / 'result.json', result)
    return result


def last_checkpoint(run: Run) -> Path | None:
    """The checkpoint to go on from or to test; None if there is none."""
    name = run.folder / 'last_checkpoint'
    if not name.is_file():
        return None
    # By its name alone: the folder may have been moved.
    path = run.folder / Path(name.read_text(encoding='utf-8').strip()).name
    return path if path.is_file() else None


def checkpoint_of(run: Run) -> Path:
    """The last checkpoint of a training that has ended.

    Raises:
        FileNotFoundError: If it left none.
    """
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise FileNotFoundError(f'{run.folder}: training left no checkpoint')
    return checkpoint


def is_tested(run: Run) -> bool:
    """Whether the detections are those of the last checkpoint."""
    measured, checkpoint = run.folder / 'detections.json', last_checkpoint(run)
    if checkpoint is None or not measured.is_file():
        return False
    return measured.stat().st_mtime_ns >= checkpoint.stat().st_mtime_ns


def _has_checkpoint(run: Run, result: Mapping[str, Any]) -> bool:
    """Whether the last checkpoint is the one that a finished run ended with."""
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        return False
    return _progress_of(checkpoint) == (result['iterations'], result['epochs'])


def _progress_of(checkpoint: Path) -> tuple[int, int]:
    """Iterations and epochs that a checkpoint was trained."""
    # Mapped, so that the weights are not read.
    meta = torch_load(checkpoint, map_location='cpu', mmap=True)['meta']
    return meta['iter'], meta['epoch']


def _last_logged(run: Run, name: str) -> float | None:
    """The last value that training logged; None if it logs no JSON, or none such."""
    for path in sorted(run.folder.glob('*/vis_data/scalars.json'), reverse=True):
        for line in reversed(path.read_text(encoding='utf-8').splitlines()):
            row = json.loads(line)
            if name in row:
                return float(row[name])
    return None


def _read_own(run: Run, name: str) -> dict[str, Any] | None:
    """A file of a run's folder; None if the folder holds a run of other settings."""
    old = old_settings(run)
    if old is None or identify(old) != run.identity:
        return None
    return _read(run.folder / name)


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}: {error}; remove it and run again') from error


def _write(path: Path, content: Any) -> None:
    part = path.with_name(f'{path.name}.part')
    part.write_text(f'{json.dumps(content, indent=1)}\n', encoding='utf-8')
    os.replace(part, path)
