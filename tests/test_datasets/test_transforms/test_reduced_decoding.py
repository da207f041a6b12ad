import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmdet_srn.datasets.transforms.reduced_decoding import (
    JPEG_STEPS,
    average_blocks,
    upright_jpeg_size,
)


def _file(mode='RGB', suffix='jpeg', size=(30, 20), **options):
    stream = io.BytesIO()
    Image.new(mode, size, 100).save(stream, suffix, **options)
    return stream.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('progressive', [False, True])
def test_size_of_a_jpeg(mode, progressive):
    assert upright_jpeg_size(_file(mode, progressive=progressive)) == (20, 30)
    assert upright_jpeg_size(_file(mode, exif=_exif(1))) == (20, 30)


@pytest.mark.parametrize(
    'content',
    [
        *(_file(exif=_exif(orientation)) for orientation in range(2, 9)),
        *(_file(suffix=suffix) for suffix in ('png', 'bmp', 'webp')),
        _file()[:20],
        b'\xff\xd8',
        b'\xff\xd8 and no JPEG',
        b'',
    ],
)
def test_no_size_where_only_decoding_tells(content):
    assert upright_jpeg_size(content) is None


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
@pytest.mark.parametrize('spoilt', range(12, 60, 3))
def test_spoilt_exif_data_raise_nothing(spoilt):
    content = bytearray(_file(exif=_exif(6)))
    content[spoilt] ^= 0xFF
    upright_jpeg_size(bytes(content))


@pytest.mark.parametrize('step', JPEG_STEPS)
@pytest.mark.parametrize('width', [1, 7, 8, 9, 16, 31, 33])
def test_libjpeg_rounds_up(step, width):
    content = np.frombuffer(_file(size=(width, 40 - width)), np.uint8)
    height = 40 - width
    shape = cv2.imdecode(content, JPEG_STEPS[step]).shape
    assert shape == (-(-height // step), -(-width // step), 3)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([None, 3]),
    step=st.sampled_from([1, 2, 4, 8, 16]),
    seed=st.integers(0, 99),
)
def test_averages_of_blocks(height, width, channels, step, seed):
    shape = (height, width) if channels is None else (height, width, channels)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    reduced = average_blocks(image, step)
    assert reduced.shape == (-(-height // step), -(-width // step), *shape[2:])
    for y in range(len(reduced)):
        for x in range(reduced.shape[1]):
            # Beyond the edge the last row and column go on.
            rows = np.minimum(np.arange(y * step, (y + 1) * step), height - 1)
            columns = np.minimum(np.arange(x * step, (x + 1) * step), width - 1)
            mean = image[np.ix_(rows, columns)].astype(float).mean(axis=(0, 1))
            assert np.abs(reduced[y, x] - mean).max() <= 0.501
