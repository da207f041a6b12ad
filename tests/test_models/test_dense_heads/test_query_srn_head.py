"""The first step where the query branch looks gives the dense one's detections there.

Tolerances: boxes 1e-3 px, scores 1e-5.
"""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_srn.models.sparse import partial_map
from tests.test_models.test_dense_heads.test_srn_head import (
    ASSIGNER,
    faces,
    maps,
    metas,
    scalars,
)
from tests.test_models.test_dense_heads.test_srn_head_sparse import (
    SIZE,
    assert_same,
    deferred,
    dense_flops,
    flops,
    leave,
    predict,
)
from tests.test_models.test_dense_heads.test_srn_head_sparse import build as build_srn

CELLS = (40 * 51, 20 * 26, 10 * 13)


def build(share=0.3, query_levels=(0,), **kwargs):
    """A head, as if trained, whose branch says yes to a share of the cells."""
    head = build_srn(
        type='QuerySRNHead',
        query_levels=query_levels,
        query_cfg=dict(feat_channels=8),
        **kwargs,
    ).eval()
    if query_levels:
        torch.nn.init.xavier_uniform_(head.query.predictor.weight, 5)
        ask_for(head, maps(2, SIZE), share)
    return head


def ask_for(head, x, share):
    with torch.no_grad():
        logits = torch.cat([m.flatten() for m in head.query_maps(x)])
        wanted = logits.quantile(1 - share) if share else logits.max() + 1
        head.query.predictor.bias += torch.tensor(0.12).logit() - wanted


def masked_dense(head, x):
    """All computed; then nothing survives the first step where it is not to look."""
    with torch.no_grad():
        chosen = head.choose(x)
        outs = head(x)
        for level, cells in chosen.items():
            outs[0][head.stc_levels.index(level)].masked_fill_(~cells[:, None], -1e4)
        return head.predict_by_feat(*outs, metas(len(outs[2][0]), SIZE))


@pytest.mark.parametrize('share', [0, 0.02, 0.3, 1])
@pytest.mark.parametrize('query_levels', [(0,), (0, 1)])
@pytest.mark.parametrize('steps', [1, 2])
def test_same_as_dense_at_the_chosen_cells(share, query_levels, steps, monkeypatch):
    head = build(share, query_levels, share_reg_predictor=steps == 2)
    x = maps(2, SIZE, steps=steps)
    leave(head, x, 0.3)
    ask_for(head, x, share)
    if steps == 2:
        x = deferred(x, (0, 1))
    expected = masked_dense(head, x)
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    for second_step in ('sparse', 'auto'):
        assert_same(predict(head, x, second_step), expected)
    everywhere = predict(head, x, 'dense')
    chosen = torch.cat([cells.flatten() for cells in head.choose(x).values()])
    assert (share == 0) == (not chosen.any()) and (share == 1) == bool(chosen.all())
    if share == 1:
        assert_same(expected, everywhere)
    elif share < 0.3:
        with pytest.raises(AssertionError):
            assert_same(expected, everywhere)


def test_deferred_maps_of_the_first_step(monkeypatch):
    """As ``SRNFPN`` gives them."""
    head = build(0.1)
    x = maps(2, SIZE)
    leave(head, x, 0.3)
    x[0] = deferred(x, (0,))[3]
    assert_same(predict(head, x, 'sparse'), masked_dense(head, x))


def test_nothing_else_is_computed():
    """The multiplications, counted, where the branch says yes nowhere and once."""
    head = build(0)
    x = maps(2, SIZE)
    leave(head, x, 0)
    weights = [m.weight for m in head.query.modules() if isinstance(m, torch.nn.Conv2d)]
    branch = 2 * sum(weight.numel() for weight in weights) * CELLS[1]
    rest = dense_flops(head, sum(CELLS[1:]), 'cls')
    found = flops(head, x, 'auto', score_thr=1.0)
    assert found == 2 * (branch + rest)
    with torch.no_grad():
        logits = head.query_maps(x)[0].flatten()
        best = logits.topk(2).values.mean()
        head.query.predictor.bias += torch.tensor(0.12).logit() - best
        assert 0 < head.choose(x)[0].sum() <= 36
    few = flops(head, x, 'sparse', score_thr=1.0) - found
    assert 0 < few < 0.2 * dense_flops(head, CELLS[0], 'cls')


def test_ring_and_threshold_are_test_cfgs():
    head, x = build(0.1), maps(2, SIZE)
    sizes = []
    for test_cfg in (dict(query_ring=0), dict(), dict(query_ring=4), dict(query_thr=0)):
        head.test_cfg = ConfigDict(test_cfg)
        with torch.no_grad():
            sizes.append(int(head.choose(x)[0].sum()))
    assert sizes == sorted(set(sizes)) and sizes[-1] == 2 * CELLS[0]


def samples(*numbers):
    """Images with faces, of which every third is small, and one ignored box."""
    made = []
    for seed, (number, meta) in enumerate(
        zip(numbers, metas(len(numbers), SIZE), strict=True)
    ):
        ignored = InstanceData(bboxes=torch.tensor([[10.0, 20.0, 60.0, 70.0]]))
        sample = DetDataSample(metainfo=meta, gt_instances=faces(number, SIZE, 1, seed))
        sample.ignored_instances = ignored
        made.append(sample)
    return made


def focal_loss(logits, labels, weights, gamma=1.3, alpha=0.25):
    p = 1 / (1 + np.exp(-logits))
    positive = alpha * (1 - p) ** gamma * -np.log(p)
    negative = (1 - alpha) * p**gamma * -np.log(1 - p)
    return (np.where(labels == 0, positive, negative) * weights).sum()


@pytest.mark.parametrize('query_levels', [(0,), (0, 1)])
def test_loss(query_levels):
    """SRNHead's losses, and QueryDet's focal loss by hand."""
    head = build(query_levels=query_levels).train()
    x, batch = maps(3, SIZE), samples(30, 0, 12)
    plain = build(query_levels=()).train()
    missing = plain.load_state_dict(head.state_dict(), strict=False).missing_keys
    assert not missing
    losses, expected = scalars(head.loss(x, batch)), scalars(plain.loss(x, batch))
    found = losses.pop('loss_query')
    assert losses == expected
    total = positives = 0
    for level, logits in zip(query_levels, head.query_maps(x), strict=True):
        stride = (8, 16)[level]
        height, width = logits.shape[-2:]
        for image, sample in enumerate(batch):
            for y in range(height):
                for x_ in range(width):
                    at = np.array([x_, y]) * stride + (stride - 1) / 2
                    label = weight = 1
                    for box in sample.gt_instances.bboxes.double().numpy():
                        centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
                        near = np.hypot(*(at - centre)) < stride
                        for low in head.prior_generator.base_anchors[level].numpy():
                            anchor = low[2:] - low[:2]
                            both = np.minimum(anchor, sides).prod()
                            iou = both / (anchor.prod() + sides.prod() - both)
                            if near and iou >= ASSIGNER['pos_iou_thr']:
                                label = 0
                    if label and 10 <= at[0] <= 60 and 20 <= at[1] <= 70:
                        weight = 0
                    positives += label == 0
                    logit = logits[image, 0, y, x_].item()
                    total += focal_loss(logit, label, weight)
    assert positives > 10
    assert found == pytest.approx(total / positives, rel=1e-4)


def test_every_parameter_of_the_branch_has_a_gradient():
    """Faces or none."""
    head = build(train_cfg=ConfigDict(assigner=ASSIGNER)).train()
    for number in (20, 0):
        head.zero_grad()
        losses = head.loss(maps(2, SIZE), samples(number, number))
        losses['loss_query'].backward()
        assert all(p.grad is not None for p in head.query.parameters())


def test_the_branch_learns_where_small_faces_are():
    """Maps that show the faces of P2 in one channel, and larger ones in another."""
    head = build(train_cfg=ConfigDict(assigner=ASSIGNER)).train()
    head.init_weights()
    batch = samples(15, 15)
    x = [0.1 * m for m in maps(2, SIZE)]
    for image, sample in enumerate(batch):
        for left, top, right, bottom in sample.gt_instances.bboxes.tolist():
            row, column = int((top + bottom) / 16), int((left + right) / 16)
            if 0 <= row < 20 and 0 <= column < 26:
                x[4][image, int(right - left > 14), row, column] += 3
    optimizer = torch.optim.Adam(head.query.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = head.loss(x, batch)['loss_query']
        loss.backward()
        optimizer.step()
    chosen = head.choose(x)[0]
    assert chosen.float().mean() < 0.5
    for image, sample in enumerate(batch):
        boxes = sample.gt_instances.bboxes
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 8).long()
        small = boxes[:, 2] - boxes[:, 0] < 12
        columns, rows = centres[small].clamp(min=0).T
        assert chosen[image, rows.clamp(max=39), columns.clamp(max=50)].all()


@pytest.mark.parametrize('levels', [(2,), (3,), (0, 0), (1, 2)])
def test_wrong_levels(levels):
    with pytest.raises(ValueError, match='query_levels'):
        MODELS.build(
            dict(
                type='QuerySRNHead',
                num_classes=1,
                in_channels=8,
                query_levels=levels,
                stc_levels=(0, 1, 2),
                str_levels=(),
                anchor_generator=dict(type='SRNAnchorGenerator', strides=[4, 8, 16]),
            )
        )


def test_a_level_with_one_step_is_no_query_level():
    with pytest.raises(ValueError, match='stc_levels'):
        build(query_levels=(1,), stc_levels=(0,))
