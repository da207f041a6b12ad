"""mmdet's scripts: found, run with their own options."""

import json
import os
import runpy
import sys

import mmdet
import pytest

from mmdet_srn import _mmdet_tools
from mmdet_srn._mmdet_tools import find_mmdet_tool


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('train', ['--amp', '--resume', '--num-workers', '--trust-checkpoint']),
        ('test', ['checkpoint', '--out', '--tta', '--show-dir', '--num-workers']),
    ],
)
def test_scripts_have_mmdets_options(repo_root, name, options, monkeypatch, capsys):
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


def test_scripts_pass_on_a_failure(repo_root, monkeypatch, capsys):
    arguments = ['some_config.py', '--no-such-option']
    assert _run_script(repo_root, 'train', arguments, monkeypatch) == 2
    error = capsys.readouterr().err
    assert 'unrecognized arguments: --no-such-option' in error


@pytest.mark.parametrize(('name', 'loaders'), list(_mmdet_tools._LOADERS.items()))
@pytest.mark.parametrize(('number', 'persistent'), [('0', False), ('2', True)])
def test_one_switch_for_the_workers_of_all_loaders(
    tmp_path, monkeypatch, name, loaders, number, persistent
):
    """As mmdet's script sees it, beside the options of the user."""
    script = tmp_path / f'{name}.py'
    script.write_text(
        'import argparse, json; from mmengine.config import DictAction\n'
        'parser = argparse.ArgumentParser(); parser.add_argument("config")\n'
        'parser.add_argument("--cfg-options", nargs="+", action=DictAction)\n'
        f'json.dump(vars(parser.parse_args()), open({str(tmp_path / "seen")!r}, "w"))'
    )
    monkeypatch.setattr(_mmdet_tools, 'find_mmdet_tool', lambda name: script)
    arguments = ['config.py', '--num-workers', number, '--cfg-options', 'a=1']
    monkeypatch.setattr(sys, 'argv', [name, *arguments])
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    _mmdet_tools.run_mmdet_tool(name)
    seen = json.loads((tmp_path / 'seen').read_text())
    options = {'num_workers': int(number)}
    if not persistent:
        options['persistent_workers'] = False
    expected = {
        f'{at}.{key}': value for at in loaders for key, value in options.items()
    }
    assert seen == {'config': 'config.py', 'cfg_options': {'a': 1, **expected}}


def _run_script(repo_root, name, arguments, monkeypatch):
    """Runs one of our scripts as ``python tools/NAME.py`` would: its exit status."""
    script = str(repo_root / 'tools' / f'{name}.py')
    monkeypatch.setattr(sys, 'argv', [script, *arguments])
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name='__main__')
    return stopped.value.code


def test_missing_script_is_named():
    with pytest.raises(FileNotFoundError, match='without its tools/no_such.py'):
        find_mmdet_tool('no_such')


def test_script_of_a_clone_of_mmdet(tmp_path, monkeypatch):
    (tmp_path / 'mmdet').mkdir()
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').touch()
    monkeypatch.setattr(mmdet, '__file__', str(tmp_path / 'mmdet' / '__init__.py'))
    assert find_mmdet_tool('train') == tmp_path / 'tools' / 'train.py'
