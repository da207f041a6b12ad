from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmdet_srn.analysis.detection_timing import Measured, Way, above, measure
from mmdet_srn.analysis.detector_parts import PARTS
from mmdet_srn.analysis.made_photographs import write_photograph
from tests.test_analysis.small_detector import SIZE, build
from tests.test_models.test_dense_heads.test_srn_head_sparse import assert_same

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=SIZE[::-1], keep_ratio=False),
    dict(
        type='PackDetInputs',
        meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]


@pytest.fixture
def way(tmp_path):
    init_default_scope('mmdet')
    return partial(Way, build(tmp_path), Compose(PIPELINE))


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f'{number}.jpg' for number in range(3)]
    for seed, path in enumerate(paths):
        write_photograph(path, 90, 70, seed)
    return paths


def test_measure(way, images):
    ways = [way('released', 3), way('auto', 3), way('auto')]
    results = measure(ways, [images[:2], images[2:]], runs=2)
    for result in results:
        assert len(result.parts) == len(result.seconds) == 2 * 2
        assert result.seconds == [sum(parts.values()) for parts in result.parts]
        assert all(set(parts) == set(PARTS) for parts in result.parts)
        assert all(seconds > 0 for seconds in result.seconds)
        assert min(result.seconds) <= result.median <= max(result.seconds)
        assert all(result.part(name) > 0 for name in PARTS)
        assert result.total_flops == sum(result.flops.values()) > 0
        assert len(result.found) == 3
    released, auto, natural = results
    assert released.percent == auto.percent != natural.percent
    assert 3 <= auto.percent < 8
    assert released.total_flops > auto.total_flops
    for ours, theirs in zip(auto.found, released.found, strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


def test_finds_what_the_detector_finds(way, images):
    [result] = measure([way('auto')], [images], runs=0)
    assert result.parts == []
    detector = way('auto').detector
    packed = [
        Compose(PIPELINE)(dict(img_path=str(path), instances=[])) for path in images
    ]
    data = dict(
        inputs=[each['inputs'] for each in packed],
        data_samples=[each['data_samples'] for each in packed],
    )
    with torch.no_grad():
        samples = detector.test_step(data)
    for (boxes, scores), sample in zip(result.found, samples, strict=True):
        expected = sample.pred_instances
        assert len(scores) == len(expected) > 10
        np.testing.assert_allclose(boxes, expected.bboxes, atol=1e-3)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    with pytest.raises(AssertionError):
        assert_same([samples[0].pred_instances], [samples[1].pred_instances])


def test_takes_turns(way, images, monkeypatch):
    called = []
    stock = Way.__call__

    def noted(self, batch, meter=None):
        called.append((self.mode, len(batch), meter is not None))
        return stock(self, batch, meter)

    monkeypatch.setattr(Way, '__call__', noted)
    ways = [way('dense', countable=False), way('auto', countable=False)]
    batches = [images[:2], images[2:]]
    measure(ways, batches, runs=1)
    warm = [(mode, n, False) for mode in ('dense', 'auto') for n in (2, 2, 1, 1)]
    turns = [(mode, n, True) for n in (2, 1) for mode in ('dense', 'auto')]
    assert called == warm + turns

    # where a clock waits for the device, the whole is timed without the parts
    called.clear()
    monkeypatch.setattr(Way, 'device', torch.device('meta'))
    results = measure(ways, batches, runs=1)
    turns = [
        (mode, n, metered)
        for n in (2, 1)
        for mode in ('dense', 'auto')
        for metered in (True, False)
    ]
    assert called == warm + turns
    for result in results:
        assert len(result.seconds) == len(result.parts) == 2
        assert all(seconds > 0 for seconds in result.seconds)


def test_what_cannot_be_counted(way, images):
    [result] = measure([way('auto', countable=False)], [images[:1]], runs=0)
    assert result.total_flops is None and not result.flops


def test_medians():
    parts = [dict(a=1.0, b=3.0), dict(a=5.0), dict(a=2.0, b=1.0)]
    result = Measured(parts=parts, seconds=[4, 5, 3])
    assert result.median == 4
    assert (result.part('a'), result.part('b'), result.part('c')) == (2, 1, 0)


def test_above():
    boxes, scores = np.arange(12.0).reshape(3, 4), np.array([0.9, 0.5, 0.1])
    found = above((boxes, scores), 0.5)
    assert found[0].tolist() == boxes[:2].tolist()
    assert found[1].tolist() == [0.9, 0.5]
