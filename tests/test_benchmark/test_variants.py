from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.benchmark.variants import (
    MODES,
    change_detector,
    compute_as,
    released_forward,
)
from mmdet_srn.models.cpu import matrix_conv
from tests.test_benchmark.small_detector import CELLS, SIZE, build, detect, weights_of
from tests.test_models.test_dense_heads.test_srn_head_sparse import assert_same


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return build(tmp_path_factory.mktemp('config'))


def stem_of(detector):
    """A list that gets the outputs of the first convolution."""
    outputs = []
    detector.backbone.conv1.register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    return outputs


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', ['contiguous', 'channels_last'])
def test_memory_format(detector, name):
    changed, context = change_detector(detector, [name])
    stem = stem_of(changed)
    with context():
        found = detect(changed)
    assert is_channels_last(stem[0]) == (name == 'channels_last')
    assert is_channels_last(changed.backbone.conv1.weight) == (name == 'channels_last')
    assert_same(found, detect(detector))


def test_folded(detector):
    changed, _ = change_detector(detector, ['folded'])
    kinds = {type(module) for module in changed.backbone.modules()}
    assert nn.BatchNorm2d not in kinds
    assert any(isinstance(m, nn.BatchNorm2d) for m in detector.backbone.modules())
    assert_same(detect(changed), detect(detector))


def test_bf16(detector):
    changed, context = change_detector(detector, ['channels_last', 'bf16'])
    stem = stem_of(changed)
    with context():
        found = detect(changed)[0]
    assert stem[0].dtype == torch.bfloat16 and is_channels_last(stem[0])
    assert found.bboxes.dtype == torch.float32
    assert not torch.is_autocast_enabled('cpu')


def test_compiled(detector, monkeypatch):
    """Traced and run, without a backend's compiler, which takes a minute."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))
    changed, _ = change_detector(detector, ['compiled'])
    for part in ('backbone', 'neck'):
        assert hasattr(getattr(changed, part), '_orig_mod')
        assert not hasattr(getattr(detector, part), '_orig_mod')
    assert_same(detect(changed), detect(detector))


def test_unasked(tmp_path):
    """A threshold that no score reaches leaves P2 out; unasked it is there."""
    detector = build(tmp_path, type='QuerySRNHead')
    changed, _ = change_detector(detector, ['unasked'])
    for each in (detector, changed):
        each.bbox_head.test_cfg.query_thr = 1.0
    plain, _ = change_detector(detector, ['folded'])
    plain.bbox_head.test_cfg.second_step = 'dense'
    assert_same(detect(changed), detect(plain))
    assert len(detect(detector)[0]) < len(detect(changed)[0])


def test_no_change_is_the_detector_itself(detector):
    assert change_detector(detector, [])[0] is detector


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['bf16', 'fp16'], 'bf16 and fp16 exclude'),
        (['contiguous', 'channels_last'], 'exclude'),
        (['folded', 'unfolded'], 'exclude'),
        (['fp16'], 'fp16 is for GPUs'),
        (['unasked'], 'QuerySRNHead'),
    ],
)
def test_refuses(detector, names, message):
    with pytest.raises(ValueError, match=message):
        change_detector(detector, names)


def maps(number=12):
    torch.manual_seed(1)
    sizes = [(-(-SIZE[0] // s), -(-SIZE[1] // s)) for s in (4, 8, 16, 32, 64, 128)]
    return [torch.randn(1, 8, *sizes[i % 6]) for i in range(number)]


@pytest.mark.parametrize('placed', [{}, dict(stc_levels=(), str_levels=())])
def test_released_gives_what_the_head_gives(placed, tmp_path):
    head = build(tmp_path, **placed).bbox_head
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        released = released_forward(head, maps())
    with torch.no_grad():
        expected = head(maps())
    assert [len(each) for each in released] == [len(each) for each in expected]
    for ours, theirs in zip(sum(released, []), sum(expected, []), strict=True):
        assert torch.equal(ours, theirs)
    once = weights_of(head.cls_subnet, head.reg_subnet, head.conv_cls, head.conv_reg)
    assert counter.get_total_flops() == 2 * 2 * once * sum(CELLS)


def test_released_needs_two_pyramids(detector):
    with pytest.raises(ValueError, match='a map of its own for each step'):
        released_forward(detector.bbox_head, maps(6))


@pytest.mark.parametrize('mode', MODES)
def test_modes_detect_the_same_and_leave_no_trace(detector, mode):
    head = detector.bbox_head
    expected = detect(detector)
    before = dict(vars(head)), head.test_cfg.copy()
    most_cells = matrix_conv.MOST_CELLS
    with compute_as(head, mode):
        assert head.test_cfg.second_step == ('dense' if mode == 'released' else mode)
        assert bool(matrix_conv.MOST_CELLS) == (mode != 'released')
        assert_same(detect(detector), expected)
    assert matrix_conv.MOST_CELLS is most_cells
    assert (vars(head), head.test_cfg) == before
    assert len(expected[0]) > 50
