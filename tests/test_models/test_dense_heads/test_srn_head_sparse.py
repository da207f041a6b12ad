"""The second step computed where it is needed gives the dense one's detections.

Tolerances: boxes 1e-3 px, scores 1e-5, in fp32; in float64 1e-9.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from scipy.spatial import cKDTree
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.deferred_map import DeferredMap
from mmdet_srn.models.sparse.partial_map import PartialMap
from tests.test_models.test_dense_heads.test_srn_head import (
    build as build_wild,
)
from tests.test_models.test_dense_heads.test_srn_head import faces, maps, metas

SIZE = (157, 203)  # maps of 40x51, 20x26 and 10x13 cells
SHARES = [0, 0.005, 0.03, 0.3, 1]
LOGIT_OF_THETA = float(np.log(0.01 / 0.99))


def build(*args, **kwargs):
    """A head whose boxes are at most a few times larger than the anchors."""
    head = build_wild(*args, **kwargs)
    with torch.no_grad():
        head.conv_reg.weight *= 0.1
    return head


def predict(head, x, second_step, **test_cfg):
    head.eval()
    head.test_cfg = ConfigDict(head.test_cfg, second_step=second_step, **test_cfg)
    samples = [DetDataSample(metainfo=m) for m in metas(len_of(x[-1]), SIZE)]
    with torch.no_grad():
        return head.predict(x, samples)


def len_of(feature_map):
    return len(getattr(feature_map, 'source', feature_map))


def leave(head, x, share):
    """Move the first step's bias so that it leaves a share of the STC anchors."""
    head.eval()
    with torch.no_grad():
        logits = torch.cat([m.flatten() for m in head(x)[0]])
        least = logits.sort(descending=True).values[round(share * len(logits)) - 1]
        move = LOGIT_OF_THETA - least.item() + 1e-4
        head.first_cls_predictor.bias += {0: -1e4, 1: 1e4}.get(share, move)


def survivors_of(head, x):
    with torch.no_grad():
        kept = torch.cat([m.flatten() > LOGIT_OF_THETA for m in head(x)[0]])
    return kept.float().mean().item()


def deferred(x, levels, seed=0):
    """The same maps where some of the second half wait for a convolution."""
    torch.manual_seed(seed)
    channels = x[0].shape[1]
    convs = [nn.Conv2d(channels, channels, 3, padding=1).to(x[0]) for _ in x]
    last = len(x) - 3
    return [
        DeferredMap(m, convs[i]) if i - last in levels else m for i, m in enumerate(x)
    ]


def assert_same(found, expected, boxes=1e-3, scores=1e-5):
    """One to one, whatever the order of near-equal scores."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        assert ours.bboxes.dtype == theirs.bboxes.dtype
        assert (ours.scores.diff() <= 0).all()
        if not len(theirs):
            continue
        ours, theirs = (
            np.column_stack(
                [
                    r.bboxes.double().numpy() / boxes,
                    r.scores.double().numpy() / scores,
                    r.labels.numpy() * 1e6,
                ]
            )
            for r in (ours, theirs)
        )
        distance, nearest = cKDTree(ours).query(theirs, p=np.inf)
        assert distance.max() < 1
        assert len(set(nearest.tolist())) == len(theirs)


@pytest.fixture
def by_work(monkeypatch):
    """Let 'auto' choose by the multiply-adds alone; these maps are tiny."""
    chosen = []
    stock = PartialMap.sparse_pays

    def noted(self, *args):
        chosen.append(stock(self, *args))
        return chosen[-1]

    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    monkeypatch.setattr(PartialMap, 'sparse_pays', noted)
    return chosen


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize('levels', [(), (0, 1)])
def test_same_detections(share, levels, by_work):
    head = build()
    x = deferred(maps(2, SIZE), levels)
    leave(head, x, share)
    assert survivors_of(head, x) == pytest.approx(share, rel=0.1)
    dense = predict(head, x, 'dense')
    assert not by_work
    assert all(len(result) > 50 for result in dense)
    assert_same(predict(head, x, 'sparse'), dense)
    assert not by_work
    assert_same(predict(head, x, 'auto'), dense)
    assert by_work


def test_unknown_layers_are_not_computed_where_nothing_is_read():
    """The quickstart's group norm: what no survivor and no candidate asks for."""
    head = build(norm_cfg=dict(type='GN', num_groups=2), str_levels=())
    x = maps(2, SIZE)
    leave(head, x, 0)
    cells = (40 * 51, 20 * 26, 10 * 13)
    # the first step's classes, and the second's of the one level that has no first
    classes = 2 * dense_flops(head, sum(cells), 'cls')
    assert flops(head, x, 'auto', score_thr=1.0) == classes
    # one box: the whole map of its level, of both images
    box = flops(head, x, 'auto', score_thr=0.0, max_before_nms=1) - classes
    assert box == 2 * dense_flops(head, cells[2], 'reg')


def test_tiny_maps_are_computed_at_once(monkeypatch):
    """Where no part could be faster, all images of a level together."""
    head = build()
    x = maps(3, SIZE)
    leave(head, x, 0.05)
    dense = predict(head, x, 'dense')
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 1e12))
    monkeypatch.setattr(PartialMap, 'apply', None)
    assert_same(predict(head, x, 'auto'), dense)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    number=st.integers(1, 2),
    steps=st.integers(1, 2),
    levels=st.sets(st.integers(0, 2)),
    share=st.sampled_from([0.002, 0.02, 0.2, 0.7, 1]),
    kwargs=st.fixed_dictionaries(
        dict(
            stc_levels=st.sets(st.integers(0, 2)),
            str_levels=st.sets(st.integers(0, 2)),
            rfe_cfg=st.sampled_from([None, dict(type='RFE')]),
            norm_cfg=st.sampled_from([None, dict(type='BN')]),
            feat_channels=st.sampled_from([8, 12]),
            anchor_generator=st.builds(
                lambda ratios: dict(
                    type='SRNAnchorGenerator', strides=[4, 8, 16], ratios=ratios
                ),
                st.sampled_from([[1.25], [0.5, 1.0, 2.0]]),
            ),
            num_classes=st.sampled_from([1, 2]),
            share_reg_predictor=st.booleans(),
        )
    ),
    second_step=st.sampled_from(['auto', 'sparse']),
    factor=st.sampled_from([0.1, 1.0]),
    selection=st.fixed_dictionaries(
        dict(
            nms=st.none(),
            score_thr=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
            nms_pre=st.sampled_from([-1, 1, 9, 300]),
            max_before_nms=st.sampled_from([-1, 1, 40]),
            small_map_cells=st.sampled_from([0, 30, 10**6]),
            small_map_score_thr=st.sampled_from([0.0, 0.02]),
        )
    ),
)
def test_same_detections_anywhere(
    seed, size, number, steps, levels, share, kwargs, second_step, factor, selection
):
    """In float64, where no decision hangs on a rounding; mmcv has no NMS for it."""
    head = build(seed, **kwargs).double()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    x = [m.double() for m in maps(number, size, steps=steps, seed=seed)]
    x = deferred(x, levels, seed)
    if head.stc_levels:
        leave(head, x, share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(partial_map.SPARSE_COST, 'cpu', (factor, 0))
        found = predict(head, x, second_step, **selection)
    assert_same(found, predict(head, x, 'dense', **selection), 1e-9, 1e-9)


def flops(head, x, second_step, **test_cfg):
    with FlopCounterMode(display=False) as counter:
        predict(head, x, second_step, **test_cfg)
    return counter.get_total_flops()


def dense_flops(head, level_cells, which):
    subnet = getattr(head, f'{which}_subnet')
    weights = [m.weight for m in subnet.modules() if isinstance(m, nn.Conv2d)]
    weights.append(getattr(head, f'conv_{which}').weight)
    return 2 * sum(w.numel() for w in weights) * level_cells


def test_nothing_unused_is_computed():
    """The multiplications, counted, where nothing survives and no score is enough."""
    cells = (40 * 51, 20 * 26, 10 * 13)
    head = build(stc_levels=(0, 1), str_levels=(2,))
    x = deferred(maps(2, SIZE), (0, 1))
    leave(head, x, 0)
    # the first step of the STC levels and the second of the other one
    classes = 2 * dense_flops(head, sum(cells), 'cls')
    assert flops(head, x, 'auto', score_thr=1.0) == classes
    assert flops(head, x, 'sparse', score_thr=1.0) == classes
    # with candidates on the STR level, its two regressions at these alone
    few = dict(score_thr=0.0, max_before_nms=1)
    assert 0 < flops(head, x, 'sparse', **few) - classes < 0.2 * classes
    boxes = 2 * 2 * dense_flops(head, cells[2], 'reg')
    many = dict(score_thr=0.0, max_before_nms=-1)
    assert flops(head, x, 'auto', **many) == classes + boxes
    # dense: everything
    everything = 2 * (
        dense_flops(head, sum(cells[:2]) * 2 + cells[2], 'cls')
        + dense_flops(head, sum(cells) + cells[2], 'reg')
        + 2 * sum(cells[:2]) * 9 * 8 * 8
    )
    assert flops(head, x, 'dense', **many) == everything


def test_shared_maps_have_no_second_class_subnet():
    head = build(stc_levels=(0, 1), str_levels=(2,))
    x = maps(1, SIZE, steps=1)
    leave(head, x, 0.3)
    cells = 40 * 51 + 20 * 26 + 10 * 13
    predictor = 2 * head.conv_cls.weight.numel() * (40 * 51 + 20 * 26)
    found = flops(head, x, 'auto', score_thr=1.0)
    assert found == dense_flops(head, cells, 'cls') + predictor


def test_losses_and_outputs_are_dense():
    """Also of maps that are deferred, and those are computed once."""
    head = build()
    x = deferred(maps(2, SIZE), (0, 1))
    plain = [m.dense() if isinstance(m, DeferredMap) else m for m in x]
    for found, expected in zip(head(x), head(plain), strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours, theirs)
    samples = [
        DetDataSample(metainfo=m, gt_instances=faces(4, SIZE, seed=i))
        for i, m in enumerate(metas(2, SIZE))
    ]
    losses, expected = head.loss(x, samples), head.loss(plain, samples)
    assert losses == expected
