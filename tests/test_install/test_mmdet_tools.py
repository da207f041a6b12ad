"""mmdet's scripts: found, run with their own options."""

import os
import runpy
import sys
from pathlib import Path

import mmdet
import pytest

from mmdet_srn._mmdet_tools import find_mmdet_tool


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('train', ['--amp', '--resume', '--auto-scale-lr', '--work-dir']),
        ('test', ['checkpoint', '--out', '--tta', '--show-dir', '--work-dir']),
    ],
)
def test_scripts_have_mmdets_options(
    repo_root: Path,
    name: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run_script(repo_root, name, ['-h'], monkeypatch) == 0
    output = capsys.readouterr().out
    assert f'usage: {name}.py' in output
    for option in [
        *options,
        'config',
        '--cfg-options',
        '--launcher',
        '--trust-checkpoint',
    ]:
        assert option in output


def test_scripts_pass_on_a_failure(
    repo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ['some_config.py', '--no-such-option']
    assert _run_script(repo_root, 'train', arguments, monkeypatch) == 2
    error = capsys.readouterr().err
    assert 'unrecognized arguments: --no-such-option' in error


def _run_script(
    repo_root: Path, name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> int | str | None:
    """Runs one of our scripts as ``python tools/NAME.py`` would: its exit status."""
    script = str(repo_root / 'tools' / f'{name}.py')
    monkeypatch.setattr(sys, 'argv', [script, *arguments])
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name='__main__')
    return stopped.value.code


def test_missing_script_is_named() -> None:
    with pytest.raises(FileNotFoundError, match='without its tools/no_such.py'):
        find_mmdet_tool('no_such')


def test_script_of_a_clone_of_mmdet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'mmdet').mkdir()
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').touch()
    monkeypatch.setattr(mmdet, '__file__', str(tmp_path / 'mmdet' / '__init__.py'))
    assert find_mmdet_tool('train') == tmp_path / 'tools' / 'train.py'
