"""By multiply-adds, which can be told beforehand."""

import pytest
import torch
from mmdet.structures import DetDataSample
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.analysis.detector_parts import PARTS, metered_parts
from mmdet_srn.analysis.part_meter import PartMeter
from mmdet_srn.analysis.step_modes import MODES, step_mode
from mmdet_srn.analysis.surviving_share import surviving_share
from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.deferred_map import DeferredMap
from mmdet_srn.models.sparse.partial_map import PartialMap, PartialMaps
from tests.test_analysis.small_detector import CELLS, SIZE, build, weights_of
from tests.test_models.test_dense_heads.test_srn_head_sparse import assert_same


@pytest.fixture
def detector(tmp_path):
    return build(tmp_path)


@pytest.fixture(autouse=True)
def by_work(monkeypatch):
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))


def predict(detector):
    torch.manual_seed(4)
    sample = DetDataSample(
        metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
    )
    with torch.no_grad():
        samples = detector.predict(torch.randn(1, 3, *SIZE), [sample])
    return [sample.pred_instances for sample in samples]


def flops_of(detector, mode, percent=None):
    """Of the parts, and of all."""
    with FlopCounterMode(display=False) as counter:
        meter = PartMeter(counter.get_total_flops)
        with (
            step_mode(detector, mode),
            surviving_share(detector.bbox_head, percent),
            metered_parts(detector, meter),
        ):
            predict(detector)
    return meter.totals, counter.get_total_flops()


def dense(head, part, cells):
    modules = [getattr(head, f'{part}_subnet'), getattr(head, f'conv_{part}')]
    return 2 * weights_of(*modules) * cells


def deferred(neck):
    """The pyramid's output convolutions on P2 to P4, and P2's lateral."""
    lateral = neck.in_channels[0] * 8 * CELLS[0]
    return 2 * (9 * 8 * 8 * sum(CELLS[:3]) + lateral)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('percent', [0, 5, 100])
def test_all_is_in_a_part(detector, mode, percent):
    parts, total = flops_of(detector, mode, percent)
    assert sum(parts.values()) == total
    assert set(parts) == set(PARTS) - {'input'}
    assert parts['selection'] == 0
    stages = detector.backbone
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        stages(torch.randn(1, 3, *SIZE))
    assert parts['backbone'] == counter.get_total_flops()


@pytest.mark.parametrize('mode', ['released', 'dense'])
def test_dense_steps(detector, mode):
    head = detector.bbox_head
    parts, _ = flops_of(detector, mode, 5)
    first = [sum(CELLS)] * 2 if mode == 'released' else [sum(CELLS[:3]), sum(CELLS[3:])]
    assert parts['first step'] == dense(head, 'cls', first[0]) + dense(
        head, 'reg', first[1]
    )
    assert parts['second step'] == dense(head, 'cls', sum(CELLS)) + dense(
        head, 'reg', sum(CELLS)
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        maps = detector.backbone(torch.randn(1, 3, *SIZE))
        [getattr(m, 'dense', lambda: 0)() for m in detector.neck(maps)]
    backbone = parts['backbone']
    assert parts['neck'] == counter.get_total_flops() - backbone


def test_steps_where_nothing_survives(detector):
    """Then the small levels alone have a second step, of all their cells."""
    head = detector.bbox_head
    parts, _ = flops_of(detector, 'auto', 0)
    small = sum(CELLS[3:])
    first = dense(head, 'cls', sum(CELLS[:3])) + dense(head, 'reg', small)
    assert parts['first step'] == first
    assert parts['second step'] == dense(head, 'cls', small) + dense(head, 'reg', small)
    everything, _ = flops_of(detector, 'dense', 0)
    assert everything['neck'] - parts['neck'] == deferred(detector.neck)


def test_steps_where_a_part_survives(detector):
    detector.bbox_head.test_cfg.max_before_nms = -1  # boxes of all survivors
    none, few, all_ = (flops_of(detector, 'auto', p)[0] for p in (0, 1, 100))
    dense_, _ = flops_of(detector, 'dense', 100)
    assert none['first step'] == few['first step'] == all_['first step']
    assert none['second step'] < few['second step'] < 0.5 * all_['second step']
    # what was deferred is the second step's, too
    later = deferred(detector.neck)
    assert all_['second step'] == dense_['second step'] + later


def test_maps_that_both_steps_share(detector):
    """Levels that the first step does not read are the second's maps."""
    for level in (3, 4, 5):
        del detector.neck.reducers[str(level)]
    parts, total = flops_of(detector, 'auto', 0)
    assert sum(parts.values()) == total
    # in place of it the shared features are computed once, as the second step's
    assert parts['first step'] == dense(detector.bbox_head, 'cls', sum(CELLS[:3]))


@pytest.mark.parametrize('mode', MODES)
def test_same_detections(detector, mode):
    expected = predict(detector)
    meter = PartMeter(lambda: 0)
    with step_mode(detector, mode), metered_parts(detector, meter):
        found = predict(detector)
    assert_same(found, expected)
    assert len(expected[0]) > 50


def test_no_trace(detector):
    def patched():
        return PartialMap.apply, PartialMaps.apply_to_all, DeferredMap.dense

    stock = patched()
    before = {name: dict(vars(m)) for name, m in detector.named_modules()}
    for mode in MODES:
        flops_of(detector, mode)
    assert patched() == stock
    for name, module in detector.named_modules():
        assert vars(module).keys() == before[name].keys(), name
        assert not module._forward_hooks and not module._forward_pre_hooks
