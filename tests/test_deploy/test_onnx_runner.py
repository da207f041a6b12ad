import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import nms

from mmdet_srn.deploy.onnx_runner import OnnxRunner, suppress
from tests.test_deploy import small_srn

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture(scope='module')
def runner():
    return OnnxRunner(small_srn.exported('detections'), threads=1)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(deadline=None)
@given(
    st.integers(0, 40), st.floats(0, 1, width=32), st.integers(0, 1), st.integers(0, 99)
)
def test_suppress_is_that_of_mmcv(number, iou_threshold, offset, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (number, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 40, (number, 2))])
    boxes = boxes.astype(np.float32)
    scores = torch.linspace(1, 0.5, number)
    _, expected = nms(torch.from_numpy(boxes), scores, iou_threshold, offset=offset)
    np.testing.assert_array_equal(suppress(boxes, iou_threshold, offset), expected)


def test_images_of_any_sizes_in_their_order(runner):
    large, small = small_srn.images(2, 101, 67), small_srn.images(2, 48, 72)
    mixed = [large[0], small[0], large[1], small[1]]
    found = runner(mixed)
    alone = [runner([image])[0] for image in mixed]
    for one, other in zip(found, alone, strict=True):
        assert len(one[0]) == len(other[0]) > 10
        np.testing.assert_allclose(one[0], other[0], atol=1e-3)
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)
    assert not same(found[0], found[2])
    assert runner([]) == []


def test_takes_views(runner):
    """Such as a cropped or mirrored image."""
    image = small_srn.images(1, 101, 67)[0]
    view = image[::-1, ::-1][5:, 7:]
    assert not view.flags.c_contiguous
    assert same(runner([view])[0], runner([view.copy()])[0])


@pytest.mark.parametrize('form', ['boxes', 'detections'])
def test_score_thr(form):
    runner = OnnxRunner(small_srn.exported(form))
    images = small_srn.images(1, 96, 128)
    [(boxes, scores)] = runner(images)
    middle = float(np.median(scores))
    assert middle > 0.5
    above = scores > middle
    [found] = runner(images, score_thr=middle)
    assert 0 < above.sum() < len(above)
    # where max_per_img had cut, no more can come up from behind
    assert same(found, (boxes[above], scores[above]))
    assert len(runner(images, score_thr=1)[0][0]) == 0
    with pytest.raises(
        ValueError, match=r'score_thr=0\.4 .* score_thr=0\.5, leaves out'
    ):
        runner(images, score_thr=0.4)


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (np.zeros((9, 9, 3)), TypeError, r'images\[1\] .* uint8, not float64'),
        ('a.jpg', TypeError, r'images\[1\] .* uint8, not str'),
        (np.zeros((9, 9), np.uint8), ValueError, r'\(H, W, 3\), not \(9, 9\)'),
        (np.zeros((9, 9, 4), np.uint8), ValueError, r'not \(9, 9, 4\)'),
        (np.zeros((0, 9, 3), np.uint8), ValueError, r'not \(0, 9, 3\)'),
    ],
    ids=['float', 'path', 'grey', 'alpha', 'empty'],
)
def test_what_is_no_image(runner, image, error, message):
    with pytest.raises(error, match=message):
        runner([np.zeros((9, 9, 3), np.uint8), image])


def test_what_cannot_be_loaded(tmp_path):
    """Metadata that is not ours: test_onnx_backend.py."""
    with pytest.raises(FileNotFoundError, match=r'none\.onnx'):
        OnnxRunner(tmp_path / 'none.onnx')
    text = tmp_path / 'text.onnx'
    text.write_text('no model')
    with pytest.raises(ValueError, match=r'onnxruntime cannot load .*text\.onnx'):
        OnnxRunner(text)
    with pytest.raises(ValueError, match='has no FooProvider, only .*CPUExecution'):
        OnnxRunner(small_srn.exported('detections'), providers=['FooProvider'])


def test_without_onnxruntime(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r'pip install "mmdet_srn\[onnx\]"'):
        OnnxRunner(small_srn.exported('detections'))


WITHOUT_TORCH = """
import importlib.util, json, sys
blocked = ('torch', 'mmdet', 'mmcv', 'mmengine', 'mmdet_srn', 'onnx', 'scipy', 'cv2')
for name in blocked:
    sys.modules[name] = None  # an import of it now raises
spec = importlib.util.spec_from_file_location('onnx_runner', sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import numpy as np
[(boxes, scores)] = module.OnnxRunner(sys.argv[2])([np.load(sys.argv[3])])
loaded = [name for name in sys.modules if name.split('.')[0] in blocked]
print(json.dumps([boxes.tolist(), scores.tolist(), loaded]))
"""


def test_needs_no_torch(tmp_path, runner):
    """The file alone, in a process in which torch cannot be imported."""
    [image] = small_srn.images(1, 96, 128)
    np.save(tmp_path / 'image.npy', image)
    copied = tmp_path / 'onnx_runner.py'
    source = small_srn.REPO / 'mmdet_srn' / 'deploy' / 'onnx_runner.py'
    copied.write_bytes(source.read_bytes())
    arguments = [copied, small_srn.exported('detections'), tmp_path / 'image.npy']
    result = subprocess.run(
        [sys.executable, '-c', WITHOUT_TORCH, *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    boxes, scores, loaded = json.loads(result.stdout)
    assert sorted(loaded) == sorted(
        ['torch', 'mmdet', 'mmcv', 'mmengine', 'mmdet_srn', 'onnx', 'scipy', 'cv2']
    )  # the blocks themselves, none of their modules
    [expected] = runner([image])
    np.testing.assert_allclose(boxes, expected[0], atol=1e-3)
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)
