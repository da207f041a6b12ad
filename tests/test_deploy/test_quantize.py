"""Eight bits, through the real onnxruntime, against the same roundings in float64."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.deploy.quantize import quantize_onnx
from tests.test_detector.constant_onnx import SETTINGS, write_onnx

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

SIZE = 12
# The scores are a map of the network; what follows stands for decoding.
GRAPH = f"""
g (uint8[n, h, w, 3] images)
=> (float[n, k, 4] boxes, float[n, k] scores, int64[n] counts)
<float[8, 3, 3, 3] stem, float[8, 8, 3, 3] body, float[1, 8, 1, 1] head> {{
    planes = Transpose <perm = [0, 3, 1, 2]> (images)
    input = Cast <to = 1> (planes)
    first = Conv <pads = [1, 1, 1, 1]> (input, stem)
    active = Relu (first)
    second = Conv <pads = [1, 1, 1, 1]> (active, body)
    third = Conv (second, head)
    rows = Constant <value_ints = [0, {SIZE * SIZE}]> ()
    scores = Reshape (third, rows)
    last = Constant <value_ints = [2]> ()
    sides = Unsqueeze (scores, last)
    boxes = Concat <axis = 2> (sides, sides, sides, sides)
    one = Constant <value_ints = [1]> ()
    zero = Constant <value_float = -1e9> ()
    found = Greater (scores, zero)
    number = Cast <to = 7> (found)
    counts = ReduceSum <keepdims = 0> (number, one)
}}
"""


@pytest.fixture(scope='module')
def weights():
    rng = np.random.default_rng(0)
    shapes = dict(stem=(8, 3, 3, 3), body=(8, 8, 3, 3), head=(1, 8, 1, 1))
    # of different sizes, so that a scale for all channels would show
    made = {n: rng.normal(size=s) / s[1] for n, s in shapes.items()}
    made['body'] *= 2.0 ** np.arange(0, -8, -1)[:, None, None, None]
    return {name: value.astype(np.float32) for name, value in made.items()}


@pytest.fixture(scope='module')
def model(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'model.onnx'
    metadata = dict(SETTINGS, max_per_img=SIZE * SIZE, score_thr=-1e9)
    write_onnx(path, GRAPH, metadata)
    stored = onnx.load(path)
    for tensor in weights.items():
        stored.graph.initializer.append(onnx.numpy_helper.from_array(*tensor[::-1]))
    onnx.save(stored, path)
    return path


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope='module')
def quantized(model, images):
    path = model.with_name('int8.onnx')
    assert quantize_onnx(model, path, images) == (1, 3)
    return path


def to_eight_bits(values, seen):
    """Round as uint8 between 0 and what was seen; the step as well."""
    low, high = min(float(seen.min()), 0), max(float(seen.max()), 0)
    step = (high - low) / 255
    zero = round(-low / step)
    return step * ((values / step).round() + zero).clip(0, 255).sub(zero), step


def test_computes_with_rounded_weights_and_maps(weights, images, model, quantized):
    stem, body, head = (torch.from_numpy(w).double() for w in weights.values())
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2)).double()
    active = F.conv2d(planes, stem, padding=1).relu()
    second = F.conv2d(active, body, padding=1)
    plain = F.conv2d(second, head).flatten(1)
    steps = body.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    body = (body / steps).round() * steps
    rounded, _ = to_eight_bits(active, active)
    expected, step = to_eight_bits(F.conv2d(rounded, body, padding=1), second)
    expected = F.conv2d(expected, head).flatten(1)
    for path, wanted in ((quantized, expected), (model, plain)):
        got = [scores for [(_, scores)] in map(OnnxRunner(path), images[:, None])]
        off = abs(np.stack(got) - wanted.numpy())
        # one of a thousand may lie between two steps and become either
        assert np.quantile(off, 0.999) < 1e-3
        assert off.max() < step * head.abs().sum()
    assert abs(plain - expected).max() > 0.1


def test_file(model, quantized):
    """What stays in float, and all that a runner reads."""
    assert OnnxRunner(quantized).metadata == OnnxRunner(model).metadata
    nodes = onnx.load(quantized).graph.node
    makers = {node.output[0]: node.op_type for node in nodes}
    convs = [node for node in nodes if node.op_type == 'Conv']
    in_eight = [makers.get(node.input[1]) == 'DequantizeLinear' for node in convs]
    assert in_eight == [False, True, False]
    after = [node for node in nodes if node.op_type in ('Reshape', 'Unsqueeze')]
    assert [makers[node.input[0]] for node in after] == ['Conv', 'Reshape']


def test_more_in_float(model, images, tmp_path):
    path = tmp_path / 'float.onnx'
    assert quantize_onnx(model, path, images, ['bod*']) == (0, 3)
    [(_, one)], [(_, other)] = (OnnxRunner(each)([images[0]]) for each in (model, path))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_errors(model, images, tmp_path, monkeypatch):
    out = tmp_path / 'out.onnx'
    with pytest.raises(ValueError, match="name like 'neck"):
        quantize_onnx(model, out, images, ['stem', 'neck.*'])
    with pytest.raises(ValueError, match='No data'):
        quantize_onnx(model, out, [])
    with pytest.raises(FileNotFoundError, match='absent.onnx'):
        quantize_onnx(tmp_path / 'absent.onnx', out, images)
    selective = onnx.load(model)
    node = onnx.helper.make_node('NonZero', ['found'], ['cells'])
    selective.graph.node.append(node)
    onnx.save(selective, tmp_path / 'sparse.onnx')
    with pytest.raises(ValueError, match='second_step=dense'):
        quantize_onnx(tmp_path / 'sparse.onnx', out, images)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match='export'):
        quantize_onnx(model, out, images)
    assert not out.exists()
