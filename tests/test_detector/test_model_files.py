from pathlib import Path

import pytest

from mmdet_srn.detector.model_files import find_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_quickstarts_model_is_the_default(folder):
    clone = folder / 'clone'
    with pytest.raises(FileNotFoundError, match=r'quickstart\.sh.*--checkpoint FILE'):
        find_model(None, None, clone)
    for root in (clone, folder):  # the working folder comes first
        place = root / 'work_dirs' / 'quickstart'
        place.mkdir(parents=True)
        # As mmengine writes it: relative to the folder that it was run in.
        (place / 'last_checkpoint').write_text('work_dirs/quickstart/epoch_3.pth')
        (place / 'srn_r18_face_mosaic.py').touch()
        config, checkpoint = find_model(None, None, clone)
        assert config is not None
        assert Path(config).resolve() == place / 'srn_r18_face_mosaic.py'
        assert Path(checkpoint).resolve() == place / 'epoch_3.pth'


def test_config_beside_the_checkpoint(folder):
    with pytest.raises(FileNotFoundError, match='0 configs beside x/y.pth: name one'):
        find_model(None, 'x/y.pth', folder)
    Path('one.py').touch()
    assert find_model(None, 'x.pth', folder) == ('one.py', 'x.pth')
    Path('other.py').touch()
    with pytest.raises(FileNotFoundError, match=r'2 configs beside x\.pth'):
        find_model(None, 'x.pth', folder)


def test_name_of_a_shipped_config(folder, repo_root):
    name = 'srn_r50_fpn_widerface.py'
    shipped = str(repo_root / 'configs' / name)
    assert find_model(name, 'x.pth', repo_root) == (shipped, 'x.pth')
    Path(name).touch()
    assert find_model(name, 'x.pth', repo_root) == (name, 'x.pth')


def test_onnx_needs_no_config(folder):
    assert find_model(None, 'x.onnx', folder) == (None, 'x.onnx')


def test_config_needs_weights(folder):
    with pytest.raises(FileNotFoundError, match='--config needs --checkpoint'):
        find_model('some.py', None, folder)
