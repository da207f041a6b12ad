import json
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.detector.onnx_backend import (
    INTERPOLATIONS,
    OnnxBackend,
    find_provider,
    read_resize,
    resize,
)
from tests.test_detector.constant_onnx import SETTINGS, write_onnx

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def write(path, **changes):
    metadata = {k: v for k, v in (SETTINGS | changes).items() if v is not None}
    return write_onnx(path, metadata=metadata)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format=b'{bad'), 'damaged'),
        (dict(format=None), 'no file of'),
        (dict(format=2), 'has format 2, .* reads format 1'),
        (dict(form='raw'), 'form raw.*--form detections'),
        (dict(form='static'), 'for other runtimes'),
        (dict(form=None), 'form is missing'),
        (dict(form=['boxes']), 'form is'),
        (dict(score_thr=None), 'score_thr is missing'),
        (dict(score_thr=float('nan')), 'score_thr is'),
        (dict(max_per_img='10'), 'max_per_img is'),
        (dict(resize={}), 'resize is'),
        (dict(resize=[{}]), 'step None'),
        (dict(resize=[dict(type='os.mkdir', path='the_file_ran')]), r'step .os\.mkdir'),
        (dict(resize=[dict(type='Resize', scale=[9, 9], args=[1])]), 'args='),
        (dict(resize=[dict(type='Resize', scale='big')]), 'scale='),
        (dict(resize=[dict(type='Resize')]), 'without scale'),
    ],
)
def test_metadata_is_data(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    OnnxBackend(write(tmp_path / 'good.onnx'))
    with pytest.raises(ValueError, match=rf'bad\.onnx.*{message}'):
        OnnxBackend(write(tmp_path / 'bad.onnx', **changes))
    assert not (tmp_path / 'the_file_ran').exists()


SIDES = st.integers(1, 90)
FACTORS = st.floats(0.3, 3)


@given(
    size=st.tuples(SIDES, SIDES),
    scale=st.none() | st.tuples(SIDES, SIDES),
    scale_factor=FACTORS | st.tuples(FACTORS, FACTORS),
    keep_ratio=st.booleans(),
    method=st.sampled_from(
        [('cv2', each) for each in INTERPOLATIONS]
        + [('pillow', 'bilinear'), ('pillow', 'lanczos')]
    ),
)
@settings(max_examples=100, deadline=None)
def test_resizes_as_mmdet_to_the_bit(size, scale, scale_factor, keep_ratio, method):
    from mmdet.datasets.transforms import Resize

    options = dict(scale=scale, scale_factor=scale_factor, keep_ratio=keep_ratio)
    options |= dict(backend=method[0], interpolation=method[1])
    step = json.loads(json.dumps(dict(type='Resize', **options)))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    try:
        wanted = Resize(**options)(dict(img=image))['img']
    except (cv2.error, ValueError) as error:  # no pixel would be left
        with pytest.raises(type(error)):
            resize(image, **read_resize('x', step))
    else:
        found = resize(image, **read_resize('x', step))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ('device', 'wanted'),
    [
        (None, 'CUDAExecutionProvider'),
        ('cpu', 'CPUExecutionProvider'),
        ('cuda', 'CUDAExecutionProvider'),
        ('gpu', 'CUDAExecutionProvider'),
        ('cuda:1', ('CUDAExecutionProvider', dict(device_id=1))),
    ],
)
def test_device_names(monkeypatch, device, wanted):
    usable = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr(
        sys.modules['onnxruntime'], 'get_available_providers', lambda: usable
    )
    assert find_provider(device) == wanted
    usable.pop(0)
    assert find_provider(None) == 'CPUExecutionProvider'
