import cv2
import numpy as np
import pytest

from mmdet_srn.analysis.made_photographs import write_photograph


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (640, 480)])
def test_size(size, tmp_path):
    write_photograph(tmp_path / 'a.jpg', *size)
    assert cv2.imread(str(tmp_path / 'a.jpg')).shape == (size[1], size[0], 3)


def test_seed(tmp_path):
    names = [('a', 0), ('b', 0), ('c', 1)]
    for name, seed in names:
        write_photograph(tmp_path / f'{name}.jpg', 64, 48, seed)
    a, b, c = ((tmp_path / f'{name}.jpg').read_bytes() for name, _ in names)
    assert a == b != c


def test_as_large_as_a_photograph(tmp_path):
    """Photographs take 1 to 4 bits a pixel; plain colour a tenth, noise 10."""
    path = tmp_path / 'a.jpg'
    write_photograph(path, 640, 480)
    assert 1 < 8 * path.stat().st_size / (640 * 480) < 5
    assert np.std(cv2.imread(str(path))) > 20
