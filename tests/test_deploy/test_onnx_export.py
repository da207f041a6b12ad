"""Exported files, through the real onnxruntime, against the package's prediction."""

import copy
import importlib
import itertools
import json

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule

from mmdet_srn.deploy import nms_op
from mmdet_srn.deploy.onnx_export import OPSET
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.deploy.srn_graph import EXAMPLE, SRNGraph
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import run_detector
from mmdet_srn.version import __version__
from tests.test_deploy import small_srn

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

#: The first is none that the export saw; two are odd, the last is smaller than a cell.
SIZES = [(96, 128), (101, 67), (52, 52), (40, 201), (3, 1)]
# Some thresholds decide otherwise on small maps.
MANY = SIZES[:4]


def session(form):
    path = small_srn.exported(form)
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


@pytest.mark.parametrize('form', ['boxes', 'detections'])
def test_finds_what_the_detector_finds(form):
    runner = OnnxRunner(small_srn.exported(form))
    for number, size in itertools.product([1, 3], SIZES):
        batch = small_srn.images(number, *size)
        expected, found = run_detector(small_srn.detector(), batch), runner(batch)
        for one, (boxes, scores) in zip(expected, found, strict=True):
            parity = compare_detections(one, (boxes, scores))
            assert parity.same, (number, size, parity)
            assert parity.pairs >= (30 if size in MANY else 0)
            assert boxes.dtype == scores.dtype == np.float32
            assert boxes.shape == (len(scores), 4) and (np.diff(scores) <= 0).all()


@pytest.mark.parametrize('form', small_srn.FORMS)
def test_outputs_are_those_of_the_graph(form):
    """Padding, counts and order as well; for raw, all maps."""
    graph, onnx_graph = SRNGraph(small_srn.detector(), form), session(form)
    for size in SIZES:
        batch = np.stack(small_srn.images(2, *size))
        with torch.no_grad():
            expected = graph(torch.from_numpy(batch))
        got = onnx_graph.run(graph.output_names, {'images': batch})
        for name, one, other in zip(graph.output_names, expected, got, strict=True):
            assert one.shape == other.shape, (name, size)
            # boxes: 40 pixels of width times an error of 1e-5 in the logarithm
            np.testing.assert_allclose(other, one, atol=2e-3, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize('form', small_srn.FORMS)
def test_file(form):
    path = small_srn.exported(form)
    content = path.read_bytes()
    assert str(small_srn.REPO).encode() not in content
    assert str(path.parent).encode() not in content
    assert b'site-packages' not in content
    assert not list(path.parent.glob(f'{path.name}?*'))  # weights are inside
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [('', OPSET)]
    assert (model.producer_name, model.producer_version) == ('mmdet_srn', __version__)
    [images] = model.graph.input
    assert axes(images) == ('images', ['batch', 'height', 'width', 3])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    outputs = dict(axes(output) for output in model.graph.output)
    if form == 'raw':
        assert list(outputs) == SRNGraph(small_srn.detector(), form).output_names
        assert all(shape[0] == 'batch' for shape in outputs.values())
        assert outputs['bbox_pred_2'][1] == 8
    else:
        assert outputs == {
            'boxes': ['batch', form, 4],
            'scores': ['batch', form],
            'counts': ['batch'],
        }
    operators = {node.op_type for node in model.graph.node}
    assert ('NonMaxSuppression' in operators) is (form == 'detections')
    assert 'Resize' in operators


class Prepared(torch.nn.Module):
    """The graph's first part and a layer with GroupNorm."""

    def __init__(self, data_preprocessor):
        super().__init__()
        self.detector = torch.nn.Module()
        self.detector.data_preprocessor = data_preprocessor
        self.layer = ConvModule(3, 4, 3, padding=1, norm_cfg=small_srn.GROUP_NORM)

    def forward(self, images):
        prepared = SRNGraph.preprocess(self, images)
        return prepared, self.layer(prepared)


def test_padding_to_a_divisor_and_group_norm():
    """Which the detector above has not, as they take the exporter long."""
    data_preprocessor = copy.deepcopy(small_srn.detector().data_preprocessor)
    data_preprocessor.pad_size_divisor = 32
    data_preprocessor.pad_value = 7
    prepared = Prepared(data_preprocessor)
    axes = {axis: torch.export.Dim.DYNAMIC for axis in range(3)}
    program = torch.export.export(
        prepared, (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=(axes,)
    )
    model = torch.onnx.export(
        program, dynamo=True, verbose=False, opset_version=OPSET, input_names=['images']
    ).model_proto
    exported = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    for number, height, width in ((1, 33, 64), (2, 96, 128), (1, 1, 31), (3, 65, 7)):
        batch = np.stack(small_srn.images(number, height, width))
        got = exported.run(None, {'images': batch})
        expected = prepared(torch.from_numpy(batch))
        assert got[0].shape[2:] == (-(-height // 32) * 32, -(-width // 32) * 32)
        np.testing.assert_allclose(got[0], expected[0], atol=1e-5)
        np.testing.assert_allclose(got[1], expected[1].detach(), atol=1e-4)


def axes(value):
    sizes = value.type.tensor_type.shape.dim
    return value.name, [size.dim_param or size.dim_value for size in sizes]


@pytest.mark.parametrize('form', small_srn.FORMS)
def test_metadata(form):
    stored = session(form).get_modelmeta().custom_metadata_map
    metadata = {
        name.removeprefix('mmdet_srn.'): json.loads(value)
        for name, value in stored.items()
    }
    anchors = metadata.pop('base_anchors')
    generator = small_srn.detector().bbox_head.prior_generator
    np.testing.assert_array_equal(np.float32(anchors), np.stack(generator.base_anchors))
    test_cfg = dict(
        score_thr=0.1,
        small_map_cells=150,
        small_map_score_thr=0.5,
        nms_pre=120,
        max_before_nms=130,
        max_per_img=60,
        vote_iou_thr=0.4,
        nms=dict(type='nms', iou_threshold=0.3, offset=1),
    )
    if form == 'boxes':
        test_cfg['second_step'] = 'dense'  # as small_srn exports it
    selection = dict(
        score_thr=0.5,
        iou_threshold=0.3,
        nms_offset=1,
        max_per_img=60,
        vote_iou_thr=0.4,
    )
    config, checkpoint = small_srn.files()
    assert metadata == dict(
        format=1,
        version=__version__,
        form=form,
        classes=['face'],
        config=config.name,
        checkpoint=checkpoint.name,
        input=dict(dtype='uint8', layout='NHWC', channel_order='BGR'),
        network_channel_order='RGB',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        pad_size_divisor=1,
        pad_value=0,
        protocol='original',
        resize=[dict(type='Resize', scale_factor=1.0, keep_ratio=True)],
        strides=[[4, 4], [8, 8], [16, 16]],
        stc_levels=[0, 1],
        str_levels=[1, 2],
        theta=0.7,
        delta_means=[0, 0, 0, 0],
        delta_stds=[1, 1, 1, 1],
        test_cfg=test_cfg,
        **({} if form == 'raw' else selection),
    )


def test_compiles_as_one_graph():
    """torch.compile of the forward, without a break; the compiler itself apart."""
    graph = SRNGraph(small_srn.detector(), 'raw')
    images = torch.from_numpy(np.stack(small_srn.images(2, 40, 56)))
    compiled = torch.compile(graph, backend='eager', fullgraph=True)
    with torch.no_grad():
        for one, other in zip(graph(images), compiled(images), strict=True):
            torch.testing.assert_close(other, one)


def test_old_torch(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.8.1+cu126')
    with pytest.raises(ImportError, match=r'torch >= 2\.9, this is 2\.8\.1'):
        importlib.reload(nms_op)
