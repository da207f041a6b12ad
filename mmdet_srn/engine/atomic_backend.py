"""Files that are whole or not there."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

ATOMIC_BACKEND = 'atomic_local'
"""Name under which mmengine's ``backend_args`` find the backend."""


@register_backend(ATOMIC_BACKEND)
class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, except that a file gets its name when it is whole.

    What is written goes into ``.<name>.partial`` in the same folder, from there to
    the disk, and only then takes its name, and with it the place of an older file.
    Whatever ends the process, a name has either the old contents or the new ones.
    ``backend_args=dict(backend='atomic_local')`` selects it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): Its contents.
            filepath (str | Path): Its name; missing folders are made.

        Raises:
            OSError: If it cannot be written, with its name; the partial file is
                removed, an older file of the name stays.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'.{path.name}.partial')
        try:
            with partial.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            # a failing write() tells no name
            raise OSError(error.errno, error.strerror, str(path)) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file, the same way.

        Args:
            obj (str): Its contents.
            filepath (str | Path): Its name.
            encoding (str): Defaults to 'utf-8'.
        """
        self.put(obj.encode(encoding), filepath)


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Remove what processes left that ended in the middle of a ``put``.

    Args:
        folder (str | Path): Where to look, not below it. No other process may be
            writing there.

    Returns:
        list[Path]: The files removed.
    """
    found = sorted(Path(folder).glob('.*.partial'))
    for path in found:
        path.unlink(missing_ok=True)
    return found
