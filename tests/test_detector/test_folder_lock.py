import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_srn.detector.folder_lock import lock_folder


def test_another_process_is_named_and_kept_out(tmp_path, repo_root):
    code = (
        'import pathlib, sys\n'
        'from mmdet_srn.detector.folder_lock import lock_folder\n'
        'with lock_folder(pathlib.Path(sys.argv[1])):\n'
        '    print("locked", flush=True)\n'
        '    sys.stdin.read()\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', code, str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(repo_root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        while b'locked' not in (line := process.stdout.readline()):
            assert line, 'it ended'
        with pytest.raises(BlockingIOError, match=f'process {process.pid} on'):
            with lock_folder(tmp_path):
                raise AssertionError('not reached')
    finally:
        process.kill()
        process.wait()
    # The lock goes with the process, its file does not stay.
    with lock_folder(tmp_path):
        assert str(os.getpid()) in Path(tmp_path, '.lock').read_text()
    assert os.listdir(tmp_path) == []
