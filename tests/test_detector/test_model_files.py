from pathlib import Path

import pytest

from mmdet_srn.detector.model_files import find_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_model_is_the_default():
    assert find_model(None, None) == (None, None)


def test_config_beside_the_checkpoint(folder):
    with pytest.raises(FileNotFoundError, match='0 configs beside x/y.pth: name one'):
        find_model(None, 'x/y.pth')
    Path('one.py').touch()
    assert find_model(None, 'x.pth') == ('one.py', 'x.pth')
    Path('other.py').touch()
    with pytest.raises(FileNotFoundError, match=r'2 configs beside x\.pth'):
        find_model(None, 'x.pth')


def test_name_of_a_shipped_config(repo_root):
    name = 'srn_r50_fpn_widerface.py'
    shipped = str(repo_root / 'configs' / name)
    assert find_model(name, 'x.pth') == (shipped, 'x.pth')
    Path(name).touch()
    assert find_model(name, 'x.pth') == (name, 'x.pth')


def test_onnx_needs_no_config(folder):
    assert find_model(None, 'x.onnx') == (None, 'x.onnx')


def test_config_needs_weights(folder):
    with pytest.raises(FileNotFoundError, match='--config needs --checkpoint'):
        find_model('some.py', None)
