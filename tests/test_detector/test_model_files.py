from pathlib import Path

import pytest

from mmdet_srn.detector.model_files import find_model


def test_find_model(tmp_path, monkeypatch, repo_root):
    monkeypatch.chdir(tmp_path)
    assert find_model(None, None) == (None, None)  # the shipped one
    assert find_model(None, 'x.onnx') == (None, 'x.onnx')
    with pytest.raises(FileNotFoundError, match='--config needs --checkpoint'):
        find_model('some.py', None)
    # The config beside the checkpoint.
    with pytest.raises(FileNotFoundError, match='0 configs beside x/y.pth: name one'):
        find_model(None, 'x/y.pth')
    Path('one.py').touch()
    assert find_model(None, 'x.pth') == ('one.py', 'x.pth')
    Path('other.py').touch()
    with pytest.raises(FileNotFoundError, match=r'2 configs beside x\.pth'):
        find_model(None, 'x.pth')
    # The name of a shipped config; a file of that name goes first.
    name = 'srn_r50_fpn_widerface.py'
    shipped = str(repo_root / 'configs' / name)
    assert find_model(name, 'x.pth') == (shipped, 'x.pth')
    Path(name).touch()
    assert find_model(name, 'x.pth') == (name, 'x.pth')
