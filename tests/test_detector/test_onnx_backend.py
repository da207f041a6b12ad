import json
import sys

import pytest

from mmdet_srn.detector.onnx_backend import OnnxBackend, _provider, _resize
from tests.test_detector.constant_onnx import SETTINGS, write_onnx

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def write(path, **changes):
    values = {k: json.dumps(v) for k, v in (SETTINGS | changes).items()}
    values = {k: v.replace('"BAD"', '{bad') for k, v in values.items() if v != 'null'}
    return write_onnx(path, values)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format='BAD'), 'damaged'),
        (dict(format=None), 'no file of'),
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


def test_resize_of_a_config():
    step = _resize('x', dict(type='Resize', scale=[120, 60], keep_ratio=True))
    assert (step.scale, step.keep_ratio) == ((120, 60), True)


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
    assert _provider(device) == wanted
    usable.pop(0)
    assert _provider(None) == 'CPUExecutionProvider'
