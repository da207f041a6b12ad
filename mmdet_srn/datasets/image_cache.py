"""What is known of image files, kept on disk from one run to the next."""

import json
import os
from pathlib import Path
from typing import IO

from .image_check import ImageFacts

_FORMAT = 'mmdet_srn image check 2'


class ImageCache:
    """Facts about image files that hold as long as size and mtime are the same.

    The file has one JSON line a fact, written as soon as it is known, so that a run
    that is killed loses nothing but its last line.

    Args:
        path: The file, which need not exist. Defaults to None: there is none.

    Attributes:
        damaged: Number of lines that could not be read and were passed over.

    Raises:
        OSError: If the file is there, but cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.damaged = 0
        self._facts: dict[tuple[str, int, int], ImageFacts] = {}
        self._file: IO[bytes] | None = None
        self._ours = path is not None and path.exists() and self._read(path)

    def __len__(self) -> int:
        return len(self._facts)

    def _read(self, path: Path) -> bool:
        """Read all lines; whether the file is a cache of this version."""
        first, *lines = path.read_bytes().split(b'\n')
        if first != _header():
            self.damaged += 1 + len(lines)
            return False
        for line in filter(None, lines):
            try:
                name, size, mtime, *facts = json.loads(line)
                self._facts[name, size, mtime] = _facts(facts)
            except (ValueError, TypeError):
                self.damaged += 1
        return True

    def open(self) -> None:
        """Make the file, if need be, and keep on disk what is added from now on.

        A file that is no cache of this version gets another name, with ``.old``.

        Raises:
            OSError: If that cannot be done.
        """
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._ours and self.path.exists():
            self.path.replace(f'{self.path}.old')
        # Unbuffered: each line is in the file at once.
        self._file = self.path.open('ab', buffering=0)
        if not self._ours:
            self._file.write(_header())
            self._ours = True

    def get(self, path: str, status: os.stat_result) -> ImageFacts | None:
        """Look a file up.

        Args:
            path: The file's absolute path.
            status: Its state now.

        Returns:
            What is known of the file in this state; None if nothing is.
        """
        return self._facts.get((path, status.st_size, status.st_mtime_ns))

    def add(self, path: str, status: os.stat_result, facts: ImageFacts) -> None:
        """Keep what was found out, on disk as well if the file is open.

        Args:
            path: The file's absolute path.
            status: Its state before it was read.
            facts: What was found out.

        Raises:
            OSError: If it cannot be written.
        """
        key = (path, status.st_size, status.st_mtime_ns)
        self._facts[key] = facts
        # The line before the first may have been cut off, hence the line end in front.
        if self._file is not None:
            self._file.write(b'\n' + json.dumps([*key, *facts]).encode())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _header() -> bytes:
    return json.dumps([_FORMAT, *ImageFacts._fields]).encode()


def _facts(values: list) -> ImageFacts:
    """The facts of a line; an error if these are none."""
    for value, default in zip(values, ImageFacts(), strict=True):
        if type(value) is not type(default):
            raise TypeError(f'{value!r} is no {type(default).__name__}')
    return ImageFacts(*values)
