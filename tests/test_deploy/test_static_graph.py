"""The static form: in PyTorch against the head, in onnxruntime and OpenCV."""

import copy
import functools

import cv2
import numpy as np
import pytest
import torch

from mmdet_srn.deploy.onnx_conversions import bring_to_opset, compute_in_half
from mmdet_srn.deploy.onnx_export import export_onnx, save_onnx
from mmdet_srn.deploy.static_graph import StaticGraph
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import run_detector
from tests.run_once import make_once
from tests.test_deploy import small_srn

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

SIZE = (2, 60, 88)


def images():
    return small_srn.images(*SIZE)


def blob():
    return cv2.dnn.blobFromImages(images())


@functools.cache
def expected():
    """Boxes and scores before NMS, of the graph in PyTorch."""
    with torch.no_grad():
        outputs = StaticGraph(small_srn.detector(), SIZE)(torch.from_numpy(blob()))
    return [output.numpy() for output in outputs]


@functools.cache
def model():
    def export(path):
        save_onnx(StaticGraph(small_srn.detector(), SIZE), dict(form='static'), path)

    return onnx.load(make_once('static.onnx', export))


def run(exported):
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=['CPUExecutionProvider']
    )
    return session.run(['boxes', 'scores'], {'images': blob()})


def test_scores_and_boxes_are_the_heads():
    """Without limits and NMS the head's detections are the rows that score."""
    nothing_dropped = dict(
        nms_pre=-1,
        max_before_nms=-1,
        max_per_img=10_000,
        nms=dict(type='nms', iou_threshold=1.0),
        vote_iou_thr=None,
    )
    detector = copy.deepcopy(small_srn.detector())
    detector.bbox_head.test_cfg.update(nothing_dropped)
    detections = run_detector(detector, images())
    for found, rows, scores in zip(detections, *expected(), strict=True):
        left = scores > 0
        assert 50 < left.sum() < len(scores) / 2
        assert compare_detections(found, (rows[left], scores[left]), 1e-3, 1e-6).same


def test_opencv_agrees():
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model().SerializeToString(), np.uint8))
    net.setInput(blob())
    check(net.forward(['boxes', 'scores']), 1e-3, 1e-5)
    check(run(model()), 1e-3, 1e-5)


def check(found, pixels, score):
    for one, other, tolerance in zip(found, expected(), (pixels, score), strict=True):
        assert one.shape == other.shape and one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_nothing_is_boolean_or_a_shape():
    inferred = onnx.shape_inference.infer_shapes(model(), strict_mode=True).graph
    kinds = {value.type.tensor_type.elem_type for value in inferred.value_info}
    assert kinds == {onnx.TensorProto.FLOAT}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        assert all(side.dim_value for side in value.type.tensor_type.shape.dim)
    assert len(inferred.value_info) > len(model().graph.node) - 3


@pytest.mark.parametrize('opset', [14, 21])
def test_opset(opset):
    converted = bring_to_opset(model(), opset)
    assert [each.version for each in converted.opset_import] == [opset]
    check(run(converted), 1e-3, 1e-5)


def test_opset_that_cannot_be_had():
    with pytest.raises(ValueError, match='from opset 18 to 9'):
        bring_to_opset(model(), 9)


def test_half():
    """Near: where a score or the first step's is at a threshold, it may go over."""
    half = compute_in_half(copy.deepcopy(model()))
    boxes, scores = run(half)
    both = (scores > 0) & (expected()[1] > 0)
    assert both.sum() > 90 and ((scores > 0) ^ (expected()[1] > 0)).sum() <= 2
    assert 1e-5 < np.abs(scores - expected()[1])[both].max() < 5e-3
    assert np.abs(boxes - expected()[0])[both].max() < 0.1
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    weights = {node.input[1] for node in half.graph.node if node.op_type == 'Conv'}
    assert {kinds[name] for name in weights} == {onnx.TensorProto.FLOAT16}


def test_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match='must be positive'):
        StaticGraph(small_srn.detector(), (1, 0, 5))
    files = small_srn.files()
    with pytest.raises(ValueError, match='fixed size'):
        export_onnx(*files, tmp_path / 'out.onnx', half=True)
