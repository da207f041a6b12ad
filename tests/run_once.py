"""What takes long to make is made once in a test run, whichever process needs it."""

import os
from collections.abc import Callable
from pathlib import Path

from mmdet_srn.folder_lock import lock_folder


def run_folder() -> Path:
    """The folder that all processes of this run share; conftest.py makes it."""
    return Path(os.environ['MMDET_SRN_RUN_FOLDER'])


def make_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return the file or folder of a name; the first process makes it.

    Args:
        name: Its name in the shared folder.
        make: Makes it at the path it gets, which is not there before.
    """
    path = run_folder() / name
    with lock_folder(run_folder(), f'{name}.lock', wait=3600):
        if not path.exists():
            make(path)
    return path
