"""The second step's nodes in onnxruntime, against the modules on whole maps."""

import itertools

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

from mmdet_srn.deploy import second_step_nodes
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import run_detector
from mmdet_srn.models.necks import RFE
from mmdet_srn.models.sparse.cells import Cells
from mmdet_srn.models.sparse.sparse_layers import sparse_chain
from tests.test_deploy import small_srn

ir = pytest.importorskip('onnx_ir')
onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

CHANNELS = 8
SIZES = [(11, 13), (24, 17), (3, 2), (1, 1)]
SHARES = [0, 0.01, 0.1, 0.5, 1]


def modules():
    """A neck's convolution, and two subnets with their predictors."""
    torch.manual_seed(0)

    def subnet(channels):
        return nn.Sequential(
            ConvModule(CHANNELS, CHANNELS, 3, padding=1),
            RFE(CHANNELS),
            ConvModule(CHANNELS, CHANNELS, 3, padding=1),
            nn.Conv2d(CHANNELS, channels, 1),
        )

    return nn.Sequential(nn.Conv2d(4, CHANNELS, 3, padding=1)), subnet(2), subnet(8)


def session(way):
    layers = [second_step_nodes.known_layers(module) for module in modules()]
    tape = ir.tape.Tape()

    def value(name, channels):
        shape = ['n', channels, 'h', 'w']
        return ir.val(name, dtype=ir.DataType.FLOAT, shape=shape)

    source, cells = value('source', 4), value('cells', 1)
    weights = [
        tape.initializer(ir.tensor(parameter.detach().numpy(), name=f'{place}.{name}'))
        for place, conv in enumerate(
            conv for part in layers for conv in second_step_nodes.convolutions(part)
        )
        for name, parameter in (('weight', conv.weight), ('bias', conv.bias))
    ]
    maker, *readers = layers
    output = second_step_nodes.write_second_step(
        second_step_nodes.Writer(tape), source, cells, weights, maker, readers, way, 0
    )
    output.name = 'output'
    output.dtype, output.shape = ir.DataType.FLOAT, value('', 10).shape
    graph = ir.Graph(
        [source, cells],
        [output],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={'': 18},
        name='second_step',
    )
    model = ir.to_proto(ir.Model(graph, ir_version=10))
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )


def cases():
    """Maps, cells, and the output all over."""
    maker, *readers = modules()
    for number, size, share in itertools.product([1, 2], SIZES, SHARES):
        source = torch.randn(number, 4, *size)
        cells = torch.rand(number, 1, *size) < share
        with torch.no_grad():
            feature_map = maker(source)
            expected = torch.cat([reader(feature_map) for reader in readers], dim=1)
        yield source.numpy(), cells.numpy(), expected.numpy()


def run(session, source, cells):
    [output] = session.run(None, dict(source=source, cells=cells.astype(np.float32)))
    return output


def test_sparse_is_right_where_it_is_asked_for():
    sparse = session('sparse')
    for source, cells, expected in cases():
        output = run(sparse, source, cells)
        assert output.shape == expected.shape
        np.testing.assert_allclose(output, np.where(cells, expected, 0), atol=2e-6)


@pytest.mark.parametrize(('factor', 'overhead'), [(1.0, 0), (1.3, 0), (1.0, 5e4)])
def test_the_cheaper_one_is_chosen(factor, overhead, monkeypatch):
    """By the multiply-adds of ``models.sparse``, those of a batch together."""
    monkeypatch.setattr(second_step_nodes, 'SPARSE_COST', (factor, overhead))
    auto = session('auto')
    maker, *readers = map(sparse_chain, modules())
    per_cell = sum(chain.work for chain in (maker, *readers))
    chosen = set()
    for source, cells, expected in cases():
        work = 0
        for image in map(Cells, torch.from_numpy(cells)[:, 0]):
            need = readers[0].reach(image)
            work += maker.work_at(maker.reach(need), need)
            work += sum(chain.work_at(need, image) for chain in readers)
        sparse = factor * work + overhead < per_cell * cells.size
        output = run(auto, source, cells)
        expected = np.where(cells, expected, 0) if sparse else expected
        np.testing.assert_allclose(output, expected, atol=2e-6)
        chosen.add(sparse)
    assert chosen == {True, False}


def test_layers_that_are_not_known():
    def known(*layers):
        return second_step_nodes.known_layers(nn.Sequential(*layers))

    assert known(ConvModule(8, 8, 3, padding=1), RFE(8), nn.Identity()) is not None
    assert known(ConvModule(8, 8, 3, padding=1, norm_cfg=small_srn.GROUP_NORM)) is None
    assert known(RFE(8, norm_cfg=dict(type='BN'))) is None
    assert known(nn.Conv2d(8, 8, 3)) is None


@pytest.mark.parametrize('share', SHARES)
def test_a_file_finds_what_the_detector_finds(share, tmp_path):
    """With the bias of the first step's scores moved, in both."""
    detector = small_srn.build(small_srn.files()[0])
    predictor = detector.bbox_head.conv_cls_first
    model = onnx.load(small_srn.exported('detections'))
    batches = [small_srn.images(*size) for size in ((1, 96, 128), (2, 101, 67))]
    with torch.no_grad():
        predictor.bias += move_for(detector, share)
    [bias] = [
        each for each in model.graph.initializer if 'conv_cls_first.bias' in each.name
    ]
    moved = onnx.numpy_helper.from_array(predictor.bias.detach().numpy(), bias.name)
    bias.CopyFrom(moved)
    onnx.save(model, tmp_path / 'moved.onnx')
    runner = OnnxRunner(tmp_path / 'moved.onnx')
    for batch in batches:
        for one, other in zip(
            run_detector(detector, batch), runner(batch), strict=True
        ):
            parity = compare_detections(one, other, 1e-3, 1e-5)
            assert parity.same and (parity.pairs > 0 or share < 0.1), parity


def move_for(detector, share):
    """What to add to the bias so that about a share of the anchors is left."""
    if share in (0, 1):
        return (2 * share - 1) * 1e3
    logits = []
    hook = detector.bbox_head.conv_cls_first.register_forward_hook(
        lambda module, inputs, output: logits.append(output.flatten())
    )
    run_detector(detector, small_srn.images(1, 96, 128))
    hook.remove()
    least = torch.cat(logits).quantile(1 - share)
    return float(np.log(0.3 / 0.7) - least)  # theta is .7
