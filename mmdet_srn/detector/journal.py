"""What earlier runs of the command have finished in a folder of results."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .sources import Source

#: Name of the journal in its folder.
JOURNAL = '.finished.jsonl'


class Journal:
    """The file :data:`JOURNAL` in a folder of results.

    Its first line is the options that results depend on, each other one an input that
    is done with. What was written of an input that is not is cut off when the journal
    is opened, so a run that was killed goes on as if it had not been. An input is known
    by its path; one that has changed since is an error, as its results are there.

    Args:
        folder: The folder.
        options: Of this run; paths and what JSON can hold.
        overwrite: Begin anew, whatever is there. Defaults to False.

    Attributes:
        lengths: Bytes of each result file that are to be kept.
        files: What was made for the inputs that are done with; not to be overwritten.

    Raises:
        ValueError: If the folder holds results of other options, the journal is
            damaged, or a result file is shorter than it says.
    """

    def __init__(
        self, folder: Path, options: Mapping[str, Any], overwrite: bool = False
    ) -> None:
        self.lengths: dict[str, int] = {}
        self.files: list[str] = []
        self._done: dict[str, dict[str, Any]] = {}
        self._folder = folder
        path = folder / JOURNAL
        if overwrite:
            path.unlink(missing_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b'\n'):  # killed while it was written
            os.truncate(path, path.stat().st_size - len(lines.pop()))
        if lines:
            self._read(path, lines, options)
        self._file = path.open('ab', buffering=0)
        if not lines:
            self._file.write(f'{json.dumps(options, default=str)}\n'.encode())

    def find(self, source: Source) -> dict[str, Any] | None:
        """Return the entry of an input that is done with, or None.

        Its ``problem`` says what was wrong with the input, or is None.

        Raises:
            ValueError: If the input has changed since.
        """
        entry = self._done.get(os.path.abspath(source.location))
        if entry is not None and entry['state'] != _state(source):
            raise ValueError(
                f'{source} has changed since its results were written to '
                f'{self._folder}: give another --out, or --overwrite'
            )
        return entry

    def add(
        self,
        source: Source,
        files: Iterable[Path],
        lengths: Mapping[str, int],
        problem: str | None,
    ) -> None:
        """Note that all results of an input are on the disk.

        Args:
            source: The input.
            files: Made for it alone.
            lengths: Bytes of each file of results, by name.
            problem: What is wrong with it.
        """
        entry = dict(
            input=os.path.abspath(source.location),
            state=_state(source),
            files=[os.path.relpath(file, self._folder) for file in files],
            lengths=dict(lengths),
            problem=problem,
        )
        self._file.write(f'{json.dumps(entry)}\n'.encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, path: Path, lines: list[bytes], options: Mapping[str, Any]) -> None:
        try:
            before, *entries = map(json.loads, lines)
            self._done = {entry['input']: entry for entry in entries}
            for entry in entries:
                self.files += [str(self._folder / name) for name in entry['files']]
                self.lengths = entry['lengths']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is damaged ({error}): --overwrite') from error
        now = json.loads(json.dumps(options, default=str))
        for name in before | now:
            if before.get(name) != now.get(name):
                raise ValueError(
                    f'{self._folder} holds results with {name} {before.get(name)!r}, '
                    f'not {now.get(name)!r}: give another --out, or --overwrite to '
                    'replace them'
                )
        for name, length in self.lengths.items():
            file = self._folder / name
            if not file.is_file() or file.stat().st_size < length:
                raise ValueError(f'{file} was changed or removed: --overwrite')
            os.truncate(file, length)


def _state(source: Source) -> list[int] | None:
    """Return what tells whether a file has changed: its size and its time."""
    try:
        status = os.stat(source.location)
    except OSError:  # it is gone
        return None
    return [status.st_size, status.st_mtime_ns]
