"""Files that are either whole or absent."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

ATOMIC_BACKEND = 'atomic_local'  # its name in mmengine's ``backend_args``


@register_backend(ATOMIC_BACKEND)
class AtomicLocalBackend(LocalBackend):
    """mmengine's local backend, but files get their name only once complete.

    Contents go to ``.<name>.partial`` in the same folder, from there to the disk, and
    only then take the name and replace an older file. However the process ends, a name
    has either the old contents or the new ones. Selected by
    ``backend_args=dict(backend='atomic_local')``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; missing folders are created.

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
            # write() does not name the file
            raise OSError(error.errno, error.strerror, str(path)) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file in the same way."""
        self.put(obj.encode(encoding), filepath)


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Remove what interrupted processes left in a folder, and return these files.

    No other process may be writing there.
    """
    found = sorted(Path(folder).glob('.*.partial'))
    for path in found:
        path.unlink(missing_ok=True)
    return found
