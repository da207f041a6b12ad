import io
import os

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.datasets.exif import displayed_size
from mmdet_srn.datasets.image_scan import check_image, scan_images


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (160, 120)))


def _encode(picture, kind='JPEG', **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _check_bytes(tmp_path, data):
    file = tmp_path / 'a.jpg'
    file.write_bytes(data)
    return check_image(str(file))


@pytest.mark.parametrize(
    ('kind', 'mode'),
    [('JPEG', 'RGB'), ('JPEG', 'L'), ('JPEG', 'CMYK'), ('PNG', 'RGBA'), ('PNG', 'P')],
)
def test_whole_images(picture, tmp_path, kind, mode):
    facts = _check_bytes(tmp_path, _encode(picture.convert(mode), kind))
    assert facts[:7] == ('', 160, 120, kind, mode, 1, '')


@pytest.mark.parametrize(
    ('kind', 'end'),
    [('JPEG', 0.5), ('JPEG', 0.95), ('JPEG', 1), ('PNG', 0.5), ('PNG', 0.95)],
)
def test_truncated(picture, tmp_path, kind, end):
    data = _encode(picture, kind)
    facts = _check_bytes(tmp_path, data[: int(end * len(data)) - 1])
    assert 'truncated' in facts.error.lower()
    assert (facts.width, facts.height) == (0, 0)


def test_damaged_in_the_middle(picture, tmp_path, capfd):
    data = bytearray(_encode(picture, quality=95))
    middle = len(data) // 2
    data[middle : middle + 2] = b'\xff\xd9'  # end of image
    facts = _check_bytes(tmp_path, bytes(data))
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
    facts = _check_bytes(tmp_path, data)
    assert facts.error.startswith(error)
    assert '0x' not in facts.error  # the same in each run


def test_no_file(tmp_path):
    (tmp_path / 'a.jpg').touch()
    assert check_image(str(tmp_path / 'b.jpg')) is None
    assert check_image(str(tmp_path / 'a.jpg/b.jpg')) is None
    assert check_image(str(tmp_path)).error == 'cannot be read: Is a directory'
    (tmp_path / 'loop.jpg').symlink_to(tmp_path / 'loop.jpg')
    assert 'cannot be read' in check_image(str(tmp_path / 'loop.jpg')).error
    os.mkfifo(tmp_path / 'pipe.jpg')  # is not waited for
    assert 'pipe' in check_image(str(tmp_path / 'pipe.jpg')).error


@pytest.mark.parametrize('kind', ['jpg', 'png', 'tif'])
def test_size_is_that_of_training(picture, tmp_path, kind):
    path, exif = str(tmp_path / f'a.{kind}'), Image.Exif()
    for orientation in range(10):
        exif[ExifTags.Base.Orientation] = orientation
        picture.save(path, exif=exif)
        facts = check_image(path)
        size = (120, 160) if 5 <= orientation <= 8 else (160, 120)
        assert (facts.width, facts.height) == displayed_size(path) == size
        if kind != 'tif':  # OpenCV's imread fails on turned ones, Pillow turns them
            assert cv2.imread(path).shape[1::-1] == size
            assert facts.orientation == (orientation if 1 <= orientation <= 8 else 1)
    (tmp_path / 'b.jpg').write_bytes(b'no image')
    assert displayed_size(str(tmp_path / 'b.jpg')) is None
    assert displayed_size(str(tmp_path / 'c.jpg')) is None


def test_as_large_as_opencv_reads(tmp_path, monkeypatch):
    """Pillow's limit, here 1 pixel in the place of 180 million, is not training's."""
    path = str(tmp_path / 'large.png')
    cv2.imwrite(path, np.zeros((30, 40, 3), np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1)
    facts = check_image(path)
    assert (facts.error, facts.width, facts.height) == ('', 40, 30)
    assert displayed_size(path) == (40, 30)
    assert Image.MAX_IMAGE_PIXELS == 1


@pytest.fixture
def images(tmp_path):
    paths = [str(tmp_path / f'{index}.jpg') for index in range(20)]
    for index, path in enumerate(paths):
        cv2.imwrite(path, np.full((8, 8 + index, 3), 99, np.uint8))
    return paths


@pytest.mark.parametrize('workers', [1, 2])
def test_all_images(images, workers, tmp_path):
    done = []
    paths = [*images, images[0], str(tmp_path / 'no.jpg')]
    facts = scan_images(paths, workers, done.append)
    assert facts == {path: check_image(path) for path in images}
    assert sum(done) == len(images) + 1
    assert scan_images([], workers) == {}


def test_a_process_that_dies(images, monkeypatch):
    decode = cv2.imdecode

    def die(data, flag):
        pixels = decode(data, flag)
        return os._exit(1) if pixels.shape[1] == 8 + 7 else pixels

    monkeypatch.setattr(cv2, 'imdecode', die)
    with pytest.raises(RuntimeError, match=r'/7\.jpg'):
        scan_images(images, 1)
