import io
import os

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.datasets.image_check import check_image, displayed_size


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (160, 120)))


def _encode(picture, kind='JPEG', **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _check(tmp_path, data):
    file = tmp_path / 'a.jpg'
    file.write_bytes(data)
    return check_image(str(file))


@pytest.mark.parametrize(
    ('kind', 'mode'),
    [('JPEG', 'RGB'), ('JPEG', 'L'), ('JPEG', 'CMYK'), ('PNG', 'RGBA'), ('PNG', 'P')],
)
def test_whole_images(picture, tmp_path, kind, mode):
    facts = _check(tmp_path, _encode(picture.convert(mode), kind))
    assert facts[:7] == ('', 160, 120, kind, mode, 1, '')


@pytest.mark.parametrize(
    ('kind', 'end'),
    [('JPEG', 0.5), ('JPEG', 0.95), ('JPEG', 1), ('PNG', 0.5), ('PNG', 0.95)],
)
def test_truncated(picture, tmp_path, kind, end):
    data = _encode(picture, kind)
    facts = _check(tmp_path, data[: int(end * len(data)) - 1])
    assert 'truncated' in facts.error.lower()
    assert (facts.width, facts.height) == (0, 0)


def test_damaged_in_the_middle(picture, tmp_path, capfd):
    data = bytearray(_encode(picture, quality=95))
    middle = len(data) // 2
    data[middle : middle + 2] = b'\xff\xd9'  # end of image
    facts = _check(tmp_path, bytes(data))
    assert (facts.error, facts.width) == ('', 160)
    assert facts.warning.startswith('Corrupt JPEG data')
    os.write(2, b'standard error is back')
    assert capfd.readouterr().err == 'standard error is back'


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        (b'', 'empty file'),
        (b'<html>not found</html>', 'UnidentifiedImageError: cannot identify'),
    ],
)
def test_no_image(tmp_path, data, error):
    facts = _check(tmp_path, data)
    assert facts.error.startswith(error)
    assert '0x' not in facts.error  # the same in each run


def test_no_file(tmp_path):
    assert check_image(str(tmp_path / 'a.jpg')).error.startswith('cannot be read: No')
    assert check_image(str(tmp_path)).error == 'cannot be read: Is a directory'


@pytest.mark.parametrize('orientation', range(10))
def test_size_is_that_of_training(picture, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = _check(tmp_path, _encode(picture, exif=exif))
    shape = cv2.imread(str(tmp_path / 'a.jpg')).shape
    assert (facts.height, facts.width) == shape[:2]
    assert facts.orientation == (orientation if 1 <= orientation <= 8 else 1)
    assert (facts.width, facts.height) == (
        (120, 160) if 5 <= orientation <= 8 else (160, 120)
    )


def test_digest_is_of_the_bytes(picture, tmp_path):
    first = _check(tmp_path, _encode(picture)).digest
    assert _check(tmp_path, _encode(picture)).digest == first
    assert _check(tmp_path, _encode(picture, quality=50)).digest != first


def test_as_large_as_opencv_reads(tmp_path, monkeypatch):
    """Pillow's limit, here 1 pixel in the place of 180 million, is not training's."""
    path = str(tmp_path / 'large.png')
    cv2.imwrite(path, np.zeros((30, 40, 3), np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1)
    facts = check_image(path)
    assert (facts.error, facts.width, facts.height) == ('', 40, 30)
    assert displayed_size(path) == (40, 30)
    assert Image.MAX_IMAGE_PIXELS == 1


def test_displayed_size(tmp_path):
    image = Image.fromarray(np.zeros((30, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ('a.jpg', 'a.png', 'a.tif'):
        path = str(tmp_path / name)
        image.save(path, exif=exif)
        facts = check_image(path)
        assert displayed_size(path) == (facts.width, facts.height) == (30, 40)
    (tmp_path / 'b.jpg').write_bytes(b'no image')
    assert displayed_size(str(tmp_path / 'b.jpg')) is None
    assert displayed_size(str(tmp_path / 'c.jpg')) is None
