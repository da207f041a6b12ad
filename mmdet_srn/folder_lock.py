"""One process at a time in a folder of results."""

import fcntl
import os
import secrets
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_RUN = secrets.token_hex(4)  # processes in containers may share host name and number


@contextmanager
def lock_folder(
    folder: Path, name: str = '.lock', wait: float = 0.0, again: bool = False
) -> Iterator[None]:
    """Keep out others that ask for the same folder.

    The lock ends with the process. Its file says who has it, which ``filelock`` would
    not.

    Args:
        folder: It must be there.
        name: Of the lock's file, which is removed in the end.
        wait: Seconds in which another process may end.
        again: Whether this process may take it from a run of its own, which failed.

    Raises:
        BlockingIOError: If another process has it; the message says which.
        OSError: If no file can be made in the folder.
    """
    path, end = folder / name, time.monotonic() + wait
    me = f'process {os.getpid()} on {socket.gethostname()} ({_RUN})'
    while True:
        with path.open('a+', encoding='utf-8') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read()
                if again and holder == me:
                    path.unlink(missing_ok=True)  # the next file is this run's
                    continue
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                raise BlockingIOError(
                    f'{folder}: {holder or "another process"} writes there; wait '
                    'for it, or give another folder'
                ) from None
            except OSError as error:  # some network file systems
                warnings.warn(
                    f'{folder} cannot be locked ({error.strerror}): let no other '
                    'process write there',
                    stacklevel=3,
                )
            # Its holder may have removed it between our opening and locking it.
            if not _is_at(path, file):
                continue
            file.truncate(0)
            file.write(me)
            file.flush()
            try:
                yield
            finally:
                if _is_at(path, file):  # not a later run's
                    path.unlink()
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still the one at a path."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
