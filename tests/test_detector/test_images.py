"""Real files of every kind, and arrays."""

import io
import os
import sys
import warnings
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mmdet_srn.detector import images
from mmdet_srn.detector.images import ImageError, as_bgr, limit_size, read_image


@pytest.fixture
def pixels(make_image):
    return make_image(0, 40, 60)  # RGB, where Pillow gets it


def skip_without(suffix: str) -> None:
    """Skip the test where OpenCV was built without a format: AVIF, GIF before 4.12."""
    if not cv2.haveImageWriter(f'x.{suffix}'):
        pytest.skip(f'this OpenCV ({cv2.__version__}) has no {suffix}')


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp', 'avif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(
    pixels, tmp_path, suffix, orientation
):
    skip_without(suffix)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = tmp_path / f'image.{suffix}'
    image.save(path, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))
    assert shown.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    found = read_image(path)
    assert found.shape == shown.shape
    # Two decoders may round differently; turned the wrong way they differ by far more.
    difference = np.abs(found[..., ::-1].astype(int) - shown)
    assert difference.max() <= 3 or (suffix == 'webp' and difference.mean() < 3)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('bits', [16, 12])  # 12 in 16 would be nearly black
def test_deep_pixels_keep_their_upper_8_bits(tmp_path, bits, channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2**bits, (20, 30, channels), dtype=np.uint16)
    wanted = np.broadcast_to((image >> bits - 8)[..., :3], (20, 30, 3))
    path = tmp_path / 'scan.png'
    assert cv2.imwrite(str(path), image)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        np.testing.assert_array_equal(read_image(path), wanted)
        np.testing.assert_array_equal(as_bgr(image), wanted)
    texts = [str(warning.message) for warning in caught]
    assert ['12 of its 16 bits' in text for text in texts] == [True] * 2 * (bits == 12)
    assert bits == 16 or ('scan.png' in texts[0] and texts[1].startswith('image '))


def test_deep_pixels_of_the_other_byte_order(make_image):
    image = make_image()
    deep = image.astype(np.uint16) << 8
    for order in '<>':
        np.testing.assert_array_equal(as_bgr(deep.astype(f'{order}u2')), image)


@pytest.mark.parametrize('suffix', ['tif', 'hdr'])
def test_pixels_without_a_range_are_refused(tmp_path, suffix):
    path = tmp_path / f'image.{suffix}'
    image = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    assert cv2.imwrite(str(path), image)
    with pytest.raises(ImageError, match=rf'image\.{suffix} is float32'):
        read_image(path)


@pytest.mark.parametrize('suffix', ['gif', 'png', 'tif', 'webp', 'avif'])
def test_of_several_pictures_the_first_is_read_with_a_warning(pixels, tmp_path, suffix):
    skip_without(suffix)
    first, second = Image.fromarray(pixels), Image.new('RGB', (60, 40), 'red')
    path, alone = tmp_path / f'all.{suffix}', tmp_path / f'one.{suffix}'
    first.save(path, save_all=True, append_images=[second])
    first.save(alone)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        wanted = read_image(alone)
    with pytest.warns(UserWarning, match=rf'all\.{suffix} holds several pictures'):
        found = read_image(path)
    assert np.abs(found.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'RGBA', 'LA', 'CMYK'])
def test_modes(pixels, tmp_path, mode):
    image = Image.fromarray(pixels)
    if mode in ('RGBA', 'LA'):
        image.putalpha(Image.fromarray(pixels[..., 0]))
    image = image.convert(mode)
    path = tmp_path / ('image.jpg' if mode == 'CMYK' else 'image.png')
    image.save(path)
    found = read_image(path)
    assert (found.shape, found.dtype) == ((40, 60, 3), np.uint8)
    if mode != 'CMYK':  # whose conversion is a matter of taste
        wanted = np.asarray(image.convert('RGB'))  # drops alpha as well
        np.testing.assert_array_equal(found[..., ::-1], wanted)


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp', 'tiff', 'bmp', 'gif'])
@pytest.mark.parametrize('part', [0.01, 0.5, 0.99])
def test_cut_off_files_are_refused(pixels, tmp_path, kind, part):
    skip_without(kind)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((600, 400)).save(buffer, kind)
    content = buffer.getvalue()
    path = tmp_path / f'image.{kind}'
    path.write_bytes(content)
    assert read_image(path).shape == (400, 600, 3)
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ImageError, match=f'image.{kind} is no image .* damaged'):
        read_image(path)


def test_what_is_no_image(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    for name, content in (
        ('empty.jpg', b''),
        ('notes.jpg', b'hello'),
        ('bomb.pgm', b'P5 40000 40000 255\n'),  # more pixels than OpenCV takes
    ):
        (tmp_path / name).write_bytes(content)
    for path, message in (
        (tmp_path / 'notes.jpg', 'is no image'),
        (tmp_path / 'empty.jpg', 'is empty'),
        (tmp_path / 'bomb.pgm', 'cannot be decoded'),
        (tmp_path / 'pipe.jpg', 'is a pipe or a device'),  # read for ever
        ('/dev/zero', 'is a pipe or a device'),
    ):
        with pytest.raises(ImageError, match=f'{path} {message}'):
            read_image(path)
    with pytest.raises(ImageError, match='no file name'):
        read_image('a\0b.jpg')
    with pytest.raises(ImageError, match=r'notes\.jpg cannot be decoded'):
        read_image(tmp_path / 'notes.jpg', backend='pillow')
    with pytest.raises(FileNotFoundError, match=r'absent\.jpg'):
        read_image(tmp_path / 'absent.jpg')
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)


def test_names_that_are_not_utf8(pixels, tmp_path):
    """cv2.imread would crash the process."""
    path = os.path.join(tmp_path, os.fsdecode(b'\xe9.png'))
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(path)[..., ::-1], pixels)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((4, 4, 3), np.float32), 'is float32, not uint8'),
        (np.zeros((4, 4, 3), int), 'is int64, not uint8'),
        (np.zeros((4, 4, 2), np.uint8), r'has shape \(4, 4, 2\)'),
        (np.zeros((2, 4, 4, 3), np.uint8), r'has shape \(2, 4, 4, 3\)'),
        (np.zeros((0, 4, 3), np.uint8), r'has shape \(0, 4, 3\)'),
        (np.zeros(4, np.uint8), r'has shape \(4,\)'),
    ],
)
def test_arrays_that_are_no_images(image, message):
    with pytest.raises(ImageError, match=f'image {message}'):
        as_bgr(image)


def test_channel_order(make_image):
    bgr = make_image()
    assert np.shares_memory(as_bgr(bgr), bgr)  # no copy
    rgba = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA)
    for image in (rgba, rgba[..., :3]):
        found = as_bgr(image, 'rgb')
        np.testing.assert_array_equal(found, bgr)
        assert found.flags.c_contiguous


@given(st.integers(1, 400), st.integers(1, 400), st.none() | st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_limit_size(height, width, max_size):
    image = np.zeros((height, width, 3), np.uint8)
    found = limit_size(image, max_size)
    if max_size is None or max(height, width) <= max_size:
        assert found is image
        return
    assert max(found.shape[:2]) == max_size
    scale = max_size / max(height, width)
    for side, before in zip(found.shape[:2], (height, width), strict=True):
        assert abs(side - before * scale) <= 0.5 or side == 1


HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(40)


def test_heic_needs_pillow_heif(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'x.heic').write_bytes(HEIC)
    with pytest.raises(ImageError, match='x.heic .*pip install pillow-heif'):
        read_image(tmp_path / 'x.heic')
    # AVIF, which may have the same brand, is OpenCV's.
    (tmp_path / 'x.avif').write_bytes(HEIC.replace(b'mif1heic', b'mif1avif'))
    with pytest.raises(ImageError, match='no image that OpenCV'):
        read_image(tmp_path / 'x.avif')


def test_heic_that_is_damaged(tmp_path, monkeypatch):
    """With a stand-in for pillow-heif, whose errors come in many classes."""
    opener = SimpleNamespace(register_heif_opener=lambda: None)
    monkeypatch.setitem(sys.modules, 'pillow_heif', opener)
    damaged = mock.MagicMock()
    damaged.__enter__().convert.side_effect = ValueError('Invalid input')
    monkeypatch.setattr(images.Image, 'open', lambda file: damaged)
    (tmp_path / 'x.heic').write_bytes(HEIC)
    with pytest.raises(ImageError, match=r'x\.heic cannot be decoded.*Invalid input'):
        read_image(tmp_path / 'x.heic')


def test_heic_is_read_by_pillow(tmp_path, monkeypatch):
    """With a stand-in for pillow-heif, which gives one red picture."""
    opener = SimpleNamespace(register_heif_opener=lambda: None)
    monkeypatch.setitem(sys.modules, 'pillow_heif', opener)
    red = Image.new('RGB', (3, 2), (255, 0, 0))
    monkeypatch.setattr(images.Image, 'open', lambda file: red)
    (tmp_path / 'x.heic').write_bytes(HEIC)
    image = read_image(tmp_path / 'x.heic')
    np.testing.assert_array_equal(image, np.full((2, 3, 3), (0, 0, 255), np.uint8))
