"""The whole command: processes and driver are killed."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('fsspec')
pytest.importorskip('pyarrow')
import pyarrow.parquet as pq  # noqa: E402

from mmdet_srn.detector.model_files import hash_model  # noqa: E402
from mmdet_srn.many.command import main  # noqa: E402
from mmdet_srn.many.job import Job, Store, begin_job  # noqa: E402
from tests.tool_loader import find_tool  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def start(pictures, out):
    tool = [sys.executable, str(find_tool('detect_many')), str(pictures), str(out)]
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    return subprocess.Popen(
        [*tool, '--processes', '2', '--part-size', '2'],
        env=os.environ | dict(PYTHONPATH=os.pathsep.join(paths)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def parts(out):
    return len(list(out.glob('part-*.parquet')))


def wait_for(condition, process, seconds=600):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if process.poll() is not None:
            fail(process.communicate()[1])
        assert time.monotonic() < end, 'nothing happened'
        time.sleep(0.01)
    return found


def fail(stderr):
    if 'timed out during startup' in stderr:  # Ray's limit, which cannot be set
        pytest.skip('Ray did not start within its 30 seconds on this busy machine')
    pytest.fail(stderr)


def workers(out):
    """Processes that are at a part, by the marks that they leave."""
    found = set()
    for mark in out.glob('_tries/*'):
        try:
            lines = mark.read_text().splitlines()
        except FileNotFoundError:
            continue
        found |= {int(line.split()[1]) for line in lines if line.startswith('process')}
    return {pid for pid in found if Path(f'/proc/{pid}').exists()}


def test_kills(tmp_path, pictures, plain):
    """No row is lost, none is there twice, and all are as FaceDetector has them."""
    pytest.importorskip('ray')
    out = tmp_path / 'out'
    first = start(pictures, out)
    wait_for(lambda: parts(out) >= 3, first)
    orphans = workers(out)
    first.kill()
    first.communicate()
    before = parts(out)
    assert 3 <= before < 14

    second = start(pictures, out)
    wait_for(lambda: parts(out) > before, second)
    victim = max(wait_for(lambda: workers(out) - orphans, second))
    os.kill(victim, 9)
    stdout, stderr = second.communicate(timeout=600)
    if second.returncode != 3:
        fail(stderr)
    done, there = map(int, re.search(r'in (\d+) parts; (\d+) parts', stdout).groups())
    assert done + there == parts(out) == 14 and there >= before
    assert '28/28' in stderr
    assert not workers(out)

    rows = pq.read_table(out).to_pylist()
    files = sorted(p for p in pictures.rglob('*') if p.suffix or p.is_symlink())
    assert sorted(row['path'] for row in rows) == sorted(map(str, files))
    broken = {row['path'] for row in rows if row['error']}
    assert {Path(p).name for p in broken} == {
        *('02b.jpg', '06b.webp', 'text.png', 'lost.jpg')
    }
    for row in rows:
        if row['error'] is None:
            faces = plain.detect(row['path'], max_size=2048)
            assert row['boxes'] == faces.bboxes.tolist(), row['path']
            assert row['scores'] == faces.scores.tolist()
    assert not list((out / '_tries').iterdir())


def test_without_ray(tmp_path, model, pictures, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert main([str(pictures), str(tmp_path / 'out')]) == 1
    assert 'mmdet_srn[onnx,ray]' in capsys.readouterr().err


def test_going_on_with_another_input(tmp_path, model, monkeypatch, capsys):
    """The same name in another folder, or another column of a list."""
    monkeypatch.setitem(sys.modules, 'ray', None)
    inputs, out = str(tmp_path / 'a/list.parquet'), str(tmp_path / 'out')
    model_hash = hash_model(None, model)
    wanted = Job(inputs, model_hash, 0.5, 2048, tars=False, folder='/', column='key')
    begin_job(Store(out), wanted, ['1.jpg'], 1, None)
    for folder, column, said in (
        ('a', 'key', 'needs Ray'),  # it would go on
        ('a', 'path', "column='key', not 'path'"),
        ('b', 'key', "b/list.parquet'"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        assert main(['list.parquet', out, '--column', column]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    'option, value',
    [
        ('--processes', '0'),
        ('--max-size', '-1'),
        ('--score-thr', '50'),
        ('--score-thr', 'nan'),
    ],
)
def test_a_number_that_is_none(capsys, option, value):
    with pytest.raises(SystemExit):
        main(['in', 'out', f'{option}={value}'])
    assert f'{option} must be' in capsys.readouterr().err
