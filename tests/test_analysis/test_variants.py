from functools import partial

import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from mmdet_srn.analysis.variants import make_variant
from tests.test_analysis.small_detector import SIZE, build
from tests.test_models.test_dense_heads.test_srn_head_sparse import assert_same


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return build(tmp_path_factory.mktemp('config'))


def run(detector):
    torch.manual_seed(3)
    sample = DetDataSample(
        metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
    )
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        samples = detector.test_step(dict(inputs=[image], data_samples=[sample]))
    return [sample.pred_instances for sample in samples]


def noted(detector, name):
    """What a module gives."""
    outputs = []
    module = detector.get_submodule(name)
    module.register_forward_hook(lambda m, args, output: outputs.append(output))
    return outputs


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', ['contiguous', 'channels_last'])
def test_memory_format(detector, name):
    changed, context = make_variant(detector, [name])
    stem = noted(changed, 'backbone.conv1')
    with context():
        found = run(changed)
    assert is_channels_last(stem[0]) == (name == 'channels_last')
    assert is_channels_last(changed.backbone.conv1.weight) == (name == 'channels_last')
    assert_same(found, run(detector))


def test_folded(detector):
    changed, _ = make_variant(detector, ['folded'])
    kinds = {type(module) for module in changed.backbone.modules()}
    assert nn.BatchNorm2d not in kinds
    assert any(isinstance(m, nn.BatchNorm2d) for m in detector.backbone.modules())
    assert_same(run(changed), run(detector))


def test_bf16(detector):
    changed, context = make_variant(detector, ['channels_last', 'bf16'])
    stem = noted(changed, 'backbone.conv1')
    with context():
        found = run(changed)[0]
    assert stem[0].dtype == torch.bfloat16 and is_channels_last(stem[0])
    assert found.bboxes.dtype == torch.float32
    assert not torch.is_autocast_enabled('cpu')


def test_compiled(detector, monkeypatch):
    """Traced and run, without a backend's compiler, which takes a minute."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))
    changed, _ = make_variant(detector, ['compiled'])
    for part in ('backbone', 'neck'):
        assert hasattr(getattr(changed, part), '_orig_mod')
        assert not hasattr(getattr(detector, part), '_orig_mod')
    assert_same(run(changed), run(detector))


def test_none_is_the_detector_itself(detector):
    assert make_variant(detector, [])[0] is detector


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['int8'], "'int8' is none of"),
        (['bf16', 'fp16'], 'bf16 and fp16 exclude'),
        (['contiguous', 'channels_last'], 'exclude'),
        (['folded', 'unfolded'], 'exclude'),
        (['fp16'], 'fp16 is for GPUs'),
    ],
)
def test_refuses(detector, names, message):
    with pytest.raises(ValueError, match=message):
        make_variant(detector, names)
