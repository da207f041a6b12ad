"""Checks many image files in several processes."""

import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import connection

from . import image_check
from .image_cache import ImageCache
from .image_check import ImageFacts

#: Images that a process takes at a time; more only make an interruption slower.
BATCH = 16


def scan_images(
    paths: Sequence[str],
    cache: ImageCache,
    workers: int,
    progress: Callable[[int], None] = lambda number: None,
) -> dict[str, ImageFacts]:
    """Check image files, those of them that the cache does not know.

    What a process has found out is in the cache as soon as it comes back, so this
    may be interrupted and called again.

    Args:
        paths: Absolute paths.
        cache: What is known already; what is found out is added.
        workers: Number of processes.
        progress: Called with the number of images that were done since the last
            call, those that the cache knew included.

    Returns:
        Path -> facts. A missing file is left out.

    Raises:
        RuntimeError: If a process dies, of too little memory for instance.
    """
    facts, todo = {}, {}
    for path in dict.fromkeys(paths):
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            progress(1)
            continue
        except OSError as error:
            facts[path] = ImageFacts(error=f'cannot be read: {error.strerror}')
            progress(1)
            continue
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            # A pipe would make its reader wait for ever.
            facts[path] = ImageFacts(error='is a pipe or a device')
            progress(1)
            continue
        if (known := cache.get(path, status)) is not None:
            facts[path] = known
            progress(1)
        else:
            todo[path] = status
    # Closed at once if it is left half-way: else Python waits for all processes.
    with closing(_check_all(list(todo), workers)) as results:
        for path, found in results:
            cache.add(path, todo[path], found)
            facts[path] = found
            progress(1)
    return facts


def _check_all(
    paths: Sequence[str], workers: int
) -> Generator[tuple[str, ImageFacts], None, None]:
    """Check files in processes and yield path and facts as they are done."""
    if 'fork' not in multiprocessing.get_all_start_methods():  # Windows
        for path in paths:
            yield path, image_check.check_image(path)
        return
    # One process does one image at a time, to tell at which one it dies.
    size = BATCH if workers > 1 else 1
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    # Forked: a process started afresh would not find this module if it was imported
    # under another name, as the tool does.
    executor = ProcessPoolExecutor(
        max(1, min(workers, len(batches))),
        multiprocessing.get_context('fork'),
        initializer=_start_worker,
    )
    try:
        futures = {executor.submit(_check_batch, batch): batch for batch in batches}
        for future in as_completed(futures):
            yield from zip(futures[future], future.result(), strict=True)
            del futures[future]
    except BrokenProcessPool as error:
        left = next(iter(futures.values()))
        raise RuntimeError(
            f'a process died while it checked {left[0]} or an image soon after it; '
            'what was checked before is kept. With one worker the image is known'
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _check_batch(paths: Sequence[str]) -> list[ImageFacts]:
    return [image_check.check_image(path) for path in paths]


def _start_worker() -> None:
    """Leave Ctrl-C to the parent process, and go when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
