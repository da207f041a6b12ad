"""``python -m mmdet_srn``: one entry for the commands."""

import json
import os
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from mmdet_srn.__main__ import COMMANDS, main
from tests.test_imports import BLOCKER, run
from tests.tool_loader import find_tool


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Options for a model; the working folder has pictures, one called export."""
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from tests.test_detector.constant_onnx import write_onnx

    monkeypatch.chdir(tmp_path)
    for name in ('photo.png', 'export'):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(name, format='png')
    write_onnx(tmp_path / 'a.onnx')
    return ['--checkpoint', 'a.onnx', '--out', '-']


@pytest.mark.parametrize(
    ('words', 'found'),
    [
        (['photo.png'], ['photo.png']),
        (['./export', 'photo.png'], ['export', 'photo.png']),
        (['photo.png', 'export'], ['photo.png', 'export']),
        (['detect', 'export'], ['export']),
        (['--max-size', '0', 'photo.png'], ['photo.png']),
    ],
)
def test_detect_need_not_be_said(model, capfd, words, found):
    assert main([*words, *model]) == 0
    lines = map(json.loads, capfd.readouterr().out.splitlines())
    assert [line['image'] for line in lines] == found


@pytest.mark.parametrize('name', COMMANDS)
def test_names(name, monkeypatch, capsys):
    """Of the module, and of the scripts that mim runs."""
    pytest.importorskip('fsspec')
    script = find_tool(dict(export='export_onnx').get(name, name))
    monkeypatch.delitem(sys.modules, 'mmdet_srn.__main__')  # or runpy warns
    helps = []
    for start, words in (
        (lambda: runpy.run_module('mmdet_srn', run_name='__main__'), [name, '-h']),
        (lambda: runpy.run_path(str(script), run_name='__main__'), ['-h']),
    ):
        monkeypatch.setattr(sys, 'argv', ['x', *words])
        with pytest.raises(SystemExit, match='0'):
            start()
        helps.append(capsys.readouterr().out)
    said = '' if name == 'detect' else f' {name}'
    assert helps[0].startswith(f'usage: python -m mmdet_srn{said} [')
    assert helps[0] == helps[1]


def test_without_the_stack(model, repo_root):
    code = """
from mmdet_srn.__main__ import main
sys.modules['fsspec'] = None
print([main(words.split()) for words in sys.argv[1:]], file=sys.stderr)
print(set(HIDDEN) & set(sys.modules), file=sys.stderr)
"""
    detect = ' '.join(['detect', 'photo.png', *model])
    env = os.environ | dict(PYTHONPATH=str(repo_root))
    done = run(BLOCKER + code, detect, 'export a b c', 'detect_many a b', env=env)
    assert done.stderr.splitlines()[-2:] == ['[0, 1, 1]', 'set()']
    assert json.loads(done.stdout)['bboxes'] == [[0, 0, 1, 1]]
    assert 'export: ' in done.stderr and 'bash tools/setup.sh' in done.stderr
    assert 'pip install "mmdet_srn[onnx,ray]"' in done.stderr
