"""A picture or a video that another program sends through stdin."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .images import HEIF_BRANDS

#: Most bytes of a picture, our choice; a video may have any number.
MAX_PICTURE = 2**30

_CHUNK = 2**16
_STARTS = (
    *(b'\xff\xd8\xff', b'\x89PNG\r\n', b'GIF8', b'BM', b'II*\0', b'MM\0*'),
    *(b'P1', b'P2', b'P3', b'P4', b'P5', b'P6', b'\0\0\0\x0cjP  '),
)


def is_picture(start: bytes) -> bool:
    """Whether a file is a picture or an animation, by its first 12 bytes."""
    return (
        start.startswith(_STARTS)
        or (start[:4] == b'RIFF' and start[8:12] == b'WEBP')
        or (start[4:8] == b'ftyp' and start[8:12] in (b'avif', b'avis', *HEIF_BRANDS))
    )


def read_stdin(number: int) -> bytes:
    """Read so many bytes; fewer only at the end."""
    parts = []
    while number and (part := os.read(0, min(number, _CHUNK))):
        parts.append(part)
        number -= len(part)
    return b''.join(parts)


@contextmanager
def stdin_pipe(start: bytes) -> Iterator[str]:
    """Make stdin readable for OpenCV, including what was read of it.

    Args:
        start: What was read.

    Yields:
        What OpenCV is to open.
    """
    readable, writable = os.pipe()

    def copy() -> None:
        # No Python object for stdin: at its end, Python would wait for this thread.
        with suppress(BrokenPipeError), open(writable, 'wb', buffering=0) as pipe:
            part = start
            while part:
                part = part[pipe.write(part) :] or os.read(0, _CHUNK)

    threading.Thread(target=copy, daemon=True).start()
    try:
        yield f'pipe:{readable}'
    finally:
        os.close(readable)
