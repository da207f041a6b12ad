"""Parts are told apart by multiply-adds, which are known beforehand."""

import time
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch.profiler import record_function
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.benchmark import measuring
from mmdet_srn.benchmark.measuring import (
    PARTS,
    Measured,
    Variant,
    count_flops,
    measure,
    profile_parts,
    time_interleaved,
)
from mmdet_srn.benchmark.synthetic_images import write_image
from mmdet_srn.benchmark.variants import MODES
from mmdet_srn.models import spans
from mmdet_srn.models.sparse import partial_map
from tests.test_benchmark.small_detector import CELLS, SIZE, build, weights_of

META = ('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=SIZE[::-1], keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=META),
]


@pytest.fixture
def variant(tmp_path):
    init_default_scope('mmdet')
    return partial(Variant, build(tmp_path), Compose(PIPELINE))


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f'{number}.jpg' for number in range(3)]
    for seed, path in enumerate(paths):
        write_image(path, 90, 70, seed)
    return paths


def test_measure(variant, images):
    variants = [variant('released', 3), variant('auto', 3), variant('auto')]
    results = measure(variants, [images[:2], images[2:]], runs=1)
    for result in results:
        assert len(result.parts) == len(result.seconds) == 2
        assert all(set(parts) == set(PARTS) for parts in result.parts)
        assert all(result.part(name) > 0 for name in PARTS)
        assert 0 < min(result.seconds) <= result.median <= max(result.seconds)
        assert len(result.found) == 3
    released, auto, _ = results
    shares = [each.count['left'] / each.count['cells'] for each in variants]
    assert 0.03 <= shares[0] == shares[1] < 0.08 and shares[1] != shares[2]
    assert sum(released.flops.values()) > sum(auto.flops.values()) > 0
    for ours, theirs in zip(auto.found, released.found, strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


def test_finds_what_the_detector_finds(variant, images):
    made = variant('auto', countable=False)
    [result] = measure([made], [images], runs=0)
    assert result.parts == [] and not result.flops
    files = [made.pipeline(dict(img_path=str(p), instances=[])) for p in images]
    data = {key: [each[key] for each in files] for key in ('inputs', 'data_samples')}
    with torch.no_grad():
        samples = made.detector.test_step(data)
    for (boxes, scores), sample in zip(result.found, samples, strict=True):
        expected = sample.pred_instances
        assert len(scores) == len(expected) > 10
        np.testing.assert_allclose(boxes, expected.bboxes, atol=1e-3)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)


def test_runs_are_interleaved(variant, images, monkeypatch):
    called = []
    stock = Variant.__call__
    monkeypatch.setattr(
        Variant, '__call__', lambda s, b: called.append((s.mode, len(b))) or stock(s, b)
    )
    variants = [variant(mode, countable=False) for mode in ('dense', 'auto')]
    measure(variants, [images[:2], images[2:]], runs=1)
    once = [(mode, n) for mode in ('dense', 'auto') for n in (2, 2, 1, 1)]
    timed = [(mode, n) for n in (2, 1) for mode in ('dense', 'auto') for _ in range(2)]
    assert called == once + timed


def test_medians():
    parts = [dict(a=1.0, b=3.0), dict(a=5.0), dict(a=2.0, b=1.0)]
    result = Measured(parts=parts, seconds=[4, 5, 3])
    assert result.median == 4
    assert [result.part(name) for name in 'abc'] == [2, 1, 0]


def test_inner_spans_count_apart():
    wall = []

    def call():
        start = time.perf_counter()
        with record_function(spans.SELECTION), record_function('another'):
            time.sleep(0.05)
            with record_function(spans.SECOND_STEP):
                time.sleep(0.05)
                with record_function(spans.NECK):
                    time.sleep(0.05)
        wall.append(time.perf_counter() - start)

    parts = profile_parts(call)
    assert set(parts) == {'selection', 'second step', 'neck'}
    assert min(parts.values()) > 0.045 and sum(parts.values()) < 1.01 * wall[0]


def test_interleaved_medians(monkeypatch):
    """The first call warms up, and what comes before a call is not its time."""
    now = 0.0
    spent = iter([50, 1, 7, 1, 2, 1, 3, 1])  # a: 7, 2, 3

    def spend(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(measuring, 'timer', lambda: now)
    calls = [lambda: spend(next(spent))] * 2
    assert time_interleaved(calls, 3, before=lambda: spend(100)) == [3, 1]
    assert now == 66 + 8 * 100


@pytest.fixture
def flops_of(variant, images, monkeypatch):
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    return lambda mode, percent: count_flops(
        partial(variant(mode, percent), images[:1])
    )


def dense(head, part, cells):
    modules = [getattr(head, f'{part}_subnet'), getattr(head, f'conv_{part}')]
    return 2 * weights_of(*modules) * cells


def deferred(neck):
    """The pyramid's output convolutions on P2 to P4, and P2's lateral."""
    lateral = neck.in_channels[0] * 8 * CELLS[0]
    return 2 * (9 * 8 * 8 * sum(CELLS[:3]) + lateral)


@pytest.mark.parametrize('mode', MODES)
def test_all_is_in_a_part(variant, images, mode):
    made = variant(mode, 5)
    with FlopCounterMode(display=False) as total:
        parts = count_flops(partial(made, images[:1]))
    assert sum(parts.values()) == total.get_total_flops()
    assert set(parts) == set(PARTS)
    assert parts['input'] == parts['selection'] == 0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        maps = made.detector.backbone(torch.randn(1, 3, *SIZE))
        backbone = counter.get_total_flops()
        [getattr(each, 'dense', lambda: 0)() for each in made.detector.neck(maps)]
    assert parts['backbone'] == backbone
    if mode in ('released', 'dense'):
        assert parts['neck'] == counter.get_total_flops() - backbone
        both, firsts = 2 * [sum(CELLS)], [sum(CELLS[:3]), sum(CELLS[3:])]
        head, first = made.detector.bbox_head, both if mode == 'released' else firsts
        for name, cells in (('first step', first), ('second step', both)):
            expected = dense(head, 'cls', cells[0]) + dense(head, 'reg', cells[1])
            assert parts[name] == expected


def test_steps_where_a_part_survives(variant, flops_of):
    """Where nothing does, only the small levels have a second step, of all cells."""
    detector = variant('auto').detector
    head, later = detector.bbox_head, deferred(detector.neck)
    head.test_cfg.max_before_nms = -1  # boxes of all survivors
    none, few, all_ = (flops_of('auto', percent) for percent in (0, 1, 100))
    whole, small = flops_of('dense', 100), sum(CELLS[3:])
    first = dense(head, 'cls', sum(CELLS[:3])) + dense(head, 'reg', small)
    assert none['first step'] == few['first step'] == all_['first step'] == first
    assert none['second step'] == dense(head, 'cls', small) + dense(head, 'reg', small)
    assert none['second step'] < few['second step'] < 0.5 * all_['second step']
    # what was deferred is the second step's, too
    assert all_['second step'] == whole['second step'] + later
    assert whole['neck'] - none['neck'] == later


def test_maps_that_both_steps_share(variant, flops_of):
    """Levels that the first step does not read are the second's maps."""
    detector = variant('auto').detector
    for level in (3, 4, 5):
        del detector.neck.reducers[str(level)]
    # in place of it the shared features are computed once, as the second step's
    expected = dense(detector.bbox_head, 'cls', sum(CELLS[:3]))
    assert flops_of('auto', 0)['first step'] == expected
