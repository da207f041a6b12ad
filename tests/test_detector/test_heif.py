import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmdet_srn.detector import ImageError, heif
from mmdet_srn.detector.images import read_image

HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(40)


def test_without_pillow_heif_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'x.heic').write_bytes(HEIC)
    with pytest.raises(ImageError, match='x.heic .*pip install pillow-heif'):
        read_image(tmp_path / 'x.heic')


def test_with_pillow_heif_pillow_reads_it(tmp_path, monkeypatch):
    """A stand-in for it, which gives one red picture."""
    opener = SimpleNamespace(register_heif_opener=lambda: None)
    monkeypatch.setitem(sys.modules, 'pillow_heif', opener)
    red = Image.new('RGB', (3, 2), (255, 0, 0))
    monkeypatch.setattr(heif.Image, 'open', lambda file: red)
    (tmp_path / 'x.heic').write_bytes(HEIC)
    image = read_image(tmp_path / 'x.heic')
    np.testing.assert_array_equal(image, np.full((2, 3, 3), (0, 0, 255), np.uint8))


def test_avif_is_opencvs():
    assert not heif.is_heif(b'\0\0\0\x18ftypmif1\0\0\0\0mif1avif' + bytes(40))
