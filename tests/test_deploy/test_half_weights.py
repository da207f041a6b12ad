"""Rounded weights, through the real onnxruntime, against float64."""

import numpy as np
import pytest
import torch

from mmdet_srn.deploy.half_weights import store_in_half
from mmdet_srn.weights import weights_file

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
# The bias as torch exports it: an expression.
NORMED = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[1, 8, 9, 9] x) => (float[1, 16, 9, 9] y) {
    zero = Constant <value_float = 0.0> ()
    like = CastLike (zero, weight)
    size = Constant <value_ints = [16]> ()
    bias = Expand (like, size)
    map = Conv <pads = [1, 1, 1, 1]> (x, weight, bias)
    y = BatchNormalization <epsilon = 0.001> (map, scale, shift, mean, var)
}
"""
CONSTANTS = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[16, 16] x) => (float[16, 16] y, float[16, 16] z) {
    y = MatMul (x, weight)
    few_y = Mul (y, few)
    z = Add (few_y, large)
}
"""


def build(text, **constants):
    """A model and what is stored in it."""
    model = onnx.parser.parse_model(text)
    for name, value in constants.items():
        tensor = onnx.numpy_helper.from_array(value.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def load(model, optimized):
    """A session, and the operators that it runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3  # says that the file is for this machine
    session = onnxruntime.InferenceSession(
        model, options, providers=['CPUExecutionProvider']
    )
    return session, [node.op_type for node in onnx.load(optimized).graph.node]


def rounded(values):
    return values.astype(np.float16).astype(np.float64)


def test_rounded_and_computed_with_in_float32(tmp_path):
    rng = np.random.default_rng(0)
    weight, few, large = rng.normal(size=(16, 16)), rng.normal(size=16), 1e6
    constants = dict(weight=weight, few=few, large=np.full((16, 16), large))
    model = store_in_half(build(CONSTANTS, **constants))
    onnx.checker.check_model(model, full_check=True)
    stored = {each.name: each.data_type for each in model.graph.initializer}
    assert stored == {'weight.half': HALF, 'large': FLOAT, 'few': FLOAT}
    x = rng.normal(size=(16, 16)).astype(np.float32)
    session, _ = load(model.SerializeToString(), tmp_path / 'optimized.onnx')
    y, z = session.run(None, {'x': x})
    expected = x @ rounded(weight)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert abs(expected - x @ weight).max() > 1e-4
    np.testing.assert_allclose(z, expected * few.astype(np.float32) + large, rtol=1e-6)


def test_norms_do_not_cost_time_and_are_not_rounded(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 8, 3, 3))
    scale, shift, mean, var = rng.uniform(0.5, 2, (4, 16)).astype(np.float32)
    norm = dict(scale=scale, shift=shift, mean=mean, var=var)
    model = store_in_half(build(NORMED, weight=weight, **norm))
    onnx.checker.check_model(model, full_check=True)
    session, operators = load(model.SerializeToString(), tmp_path / 'optimized.onnx')
    assert set(operators) <= {'Conv', 'ReorderInput', 'ReorderOutput'}
    x = rng.normal(size=(1, 8, 9, 9)).astype(np.float32)
    [y] = session.run(None, {'x': x})
    map = torch.conv2d(*map_to_double(x, rounded(weight)), padding=1).numpy()
    channel = [each.astype(np.float64)[:, None, None] for each in norm.values()]
    scale, shift, mean, var = channel
    expected = (map - mean) / np.sqrt(var + 0.001) * scale + shift
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


def map_to_double(*arrays):
    return [torch.from_numpy(each).double() for each in arrays]


def test_the_shipped_file_is_folded_as_it_is_loaded(tmp_path):
    path = weights_file('.onnx')
    norms = [node.op_type for node in onnx.load(path).graph.node]
    assert norms.count('BatchNormalization') > 40
    _, operators = load(path, tmp_path / 'optimized.onnx')
    assert 'Conv' in operators and 'BatchNormalization' not in operators
