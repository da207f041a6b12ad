import fcntl
import os
import signal
import threading
import time
from contextlib import ExitStack

import pytest

from mmdet_srn.folder_lock import lock_folder


def test_another_process_is_named_and_kept_out(tmp_path):
    lock = tmp_path / '.lock'
    child = os.fork()
    if not child:
        try:
            with lock_folder(tmp_path):
                time.sleep(300)
        finally:
            os._exit(1)
    try:
        end = time.monotonic() + 60
        while not (lock.exists() and lock.read_text()):
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises(BlockingIOError, match=f'process {child} on'):
            with lock_folder(tmp_path):
                raise AssertionError('not reached')
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # The lock goes with the process, its file does not stay.
    with lock_folder(tmp_path):
        assert str(os.getpid()) in lock.read_text()
    assert os.listdir(tmp_path) == []


def test_waits_for_another_process_to_end(tmp_path):
    with (tmp_path / '.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.2, file.close).start()
        with lock_folder(tmp_path, wait=60):
            assert file.closed


def test_a_run_of_ones_own(tmp_path):
    """It keeps another out; who may take it again keeps it when the first one ends."""
    first, second = ExitStack(), ExitStack()
    first.enter_context(lock_folder(tmp_path))
    with pytest.raises(BlockingIOError, match=f'process {os.getpid()} on'):
        second.enter_context(lock_folder(tmp_path))
    second.enter_context(lock_folder(tmp_path, again=True))
    first.close()
    with pytest.raises(BlockingIOError, match=f'process {os.getpid()} on'):
        ExitStack().enter_context(lock_folder(tmp_path))
    second.close()
    assert os.listdir(tmp_path) == []
