import cv2
import numpy as np
import pytest

from mmdet_srn.benchmark.synthetic_images import write_image


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (640, 480)])
def test_size(size, tmp_path):
    write_image(tmp_path / 'a.jpg', *size)
    assert cv2.imread(str(tmp_path / 'a.jpg')).shape == (size[1], size[0], 3)


def test_seed(tmp_path):
    path, found = tmp_path / 'a.jpg', []
    for seed in (0, 0, 1):
        write_image(path, 64, 48, seed)
        found.append(path.read_bytes())
    assert found[0] == found[1] != found[2]


def test_as_large_as_a_photograph(tmp_path):
    """Photographs take 1 to 4 bits a pixel; plain colour a tenth, noise 10."""
    path = tmp_path / 'a.jpg'
    write_image(path, 640, 480)
    assert 1 < 8 * path.stat().st_size / (640 * 480) < 5
    assert np.std(cv2.imread(str(path))) > 20
