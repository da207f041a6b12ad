"""Which image files are whole: decoded in full, in several processes.

NumPy, OpenCV and Pillow are all that this needs.
"""

import hashlib
import io
import multiprocessing
import os
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from .exif import opencv_limits


class ImageFacts(NamedTuple):
    """What a file turned out to be."""

    error: str = ''  # why it is not a whole image; '' if it is
    width: int = 0  # pixels, after the rotation that EXIF asks for; 0 with an error
    height: int = 0
    format: str = ''  # Pillow's names, such as 'JPEG' and 'CMYK'
    mode: str = ''
    orientation: int = 1  # of EXIF, 1 (upright) to 8
    # The first line of what the decoder says about an image that it decodes; nothing
    # else shows damage in the middle of a JPEG file.
    warning: str = ''
    digest: str = ''  # hash of the file's bytes


def scan_images(
    paths: Iterable[str],
    workers: int,
    progress: Callable[[int], object] = lambda number: None,
) -> dict[str, ImageFacts]:
    """Check image files in several processes; leave missing ones out.

    Raises:
        RuntimeError: If a process dies, of too little memory for instance.
    """
    todo = list(dict.fromkeys(paths))
    facts: dict[str, ImageFacts | None] = {}
    executor = ProcessPoolExecutor(workers, initializer=_start_worker)
    try:
        for path, found in zip(todo, executor.map(check_image, todo), strict=True):
            facts[path] = found
            progress(1)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f'a process died while it checked {todo[len(facts)]} or an image soon '
            'after it. With one worker the image is known'
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
    return {path: found for path, found in facts.items() if found is not None}


def _start_worker() -> None:
    """Leave Ctrl-C to the parent process, and end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    follow = lambda: (parent.join(), os._exit(1))  # noqa: E731
    threading.Thread(target=follow, daemon=True).start()


def check_image(path: str) -> ImageFacts | None:
    """Decode a file in full, by Pillow and by OpenCV.

    Pillow notices a truncated file, which OpenCV may fill up with grey; mmcv, and so
    training, decodes with OpenCV. A missing file is None.
    """
    try:
        # Opening a pipe would wait for ever.
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return ImageFacts(error='is a pipe or a device')
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return ImageFacts(error=f'cannot be read: {error.strerror}')
    facts = ImageFacts(digest=hashlib.blake2b(data, digest_size=16).hexdigest())
    if not data:
        return facts._replace(error='empty file')
    try:
        with opencv_limits(), Image.open(io.BytesIO(data)) as image:
            facts = facts._replace(format=image.format or '', mode=image.mode)
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Decoders raise all sorts of errors on broken files.
    except Exception as error:
        return facts._replace(error=_message(error))
    if orientation in range(1, 9):
        facts = facts._replace(orientation=int(orientation))
    try:
        with _captured_stderr() as complaints:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return facts._replace(error=f'OpenCV: {_message(error)}')
    if pixels is None:
        why = ''.join(complaints) or 'though Pillow can'
        return facts._replace(error=f'OpenCV cannot decode it: {why}')
    height, width = pixels.shape[:2]
    return facts._replace(width=width, height=height, warning=''.join(complaints))


def _message(error: Exception) -> str:
    """Describe an error in one line, without the address of a buffer in it."""
    text = str(error).split(' <_io.BytesIO')[0].strip().partition('\n')[0]
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """Capture the first line that C libraries write to file descriptor 2, if any."""
    complaints: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            text = file.read().decode(errors='replace').strip()
            complaints += text.splitlines()[:1]
