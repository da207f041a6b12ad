"""A name has the old contents or the new ones, whatever ends the process."""

import multiprocessing
import resource
import signal
from pathlib import Path

import pytest
from mmengine import fileio

from mmdet_srn.engine import AtomicLocalBackend
from mmdet_srn.engine.atomic_backend import remove_partial_files

OLD, NEW = b'old', bytes(100_000)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'new_folder' / 'file.pth'
    args = dict(backend='atomic_local')
    for contents in (OLD, NEW):
        fileio.put(contents, path, backend_args=args)
        assert path.read_bytes() == contents
    fileio.put_text('ä', path, backend_args=args)
    assert path.read_text(encoding='utf-8') == 'ä'
    assert list(path.parent.iterdir()) == [path]


def put_limited(path: Path, deadly: bool) -> None:
    """Write NEW where a file may have 50,000 bytes: an error, or the end."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)
    try:
        AtomicLocalBackend().put(NEW, path)
    except OSError as error:
        raise SystemExit(7 if str(path) in str(error) else 8) from error


@pytest.mark.parametrize('old', [OLD, None])
@pytest.mark.parametrize('deadly', [False, True])
def test_end_in_the_middle_of_the_write(tmp_path, old, deadly):
    """The kernel ends the write, or the process, after half of the file."""
    path = tmp_path / 'file.pth'
    if old:
        path.write_bytes(old)
    child = multiprocessing.get_context('fork').Process(
        target=put_limited, args=(path, deadly)
    )
    child.start()
    child.join()
    assert child.exitcode == (-signal.SIGXFSZ if deadly else 7)
    partial = tmp_path / '.file.pth.partial'
    assert partial.exists() == deadly
    if deadly:
        assert partial.stat().st_size == 50_000
        assert remove_partial_files(tmp_path) == [partial]
    assert (path.read_bytes() if path.exists() else None) == old
    assert remove_partial_files(tmp_path) == []


def test_only_partial_files_are_removed(tmp_path):
    names = ['epoch_1.pth', '.hidden', 'x.partial', '.epoch_2.pth.partial']
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in remove_partial_files(tmp_path)] == names[-1:]
    assert {path.name for path in tmp_path.iterdir()} == set(names[:-1])
