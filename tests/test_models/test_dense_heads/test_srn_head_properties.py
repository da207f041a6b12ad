"""Properties of the head's parts on random and degenerate input, and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from tests.conftest import REPO_ROOT
from tests.reference import srn_reference
from tests.test_models.test_dense_heads.test_srn_head import (
    PLACEMENTS,
    build,
    faces,
    maps,
    metas,
    scalars,
    split_image,
)

STRIDES = [4, 8, 16]
CONFIG = Config.fromfile(REPO_ROOT / 'configs' / 'srn_r50_fpn_widerface.py')
seeds = st.integers(0, 2**32 - 1)


def instances(boxes):
    boxes = torch.as_tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4))
    return InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))


# ------------------------------------------------------------------------ anchors


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_anchors_of_any_image(size):
    """Also where 1x1 maps come out; as a ResNet and the extra convolutions halve."""
    strides = [4, 8, 16, 32, 64, 128]
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    generator = TASK_UTILS.build(CONFIG.model.bbox_head.anchor_generator)
    found = generator.grid_priors(sizes, device='cpu')
    expected = srn_reference.grid_anchors(sizes, strides)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.numpy() == pytest.approx(theirs, rel=3e-7, abs=3e-5)


# --------------------------------------------------------------- degenerate losses

DEGENERATE = {
    'none': [],
    'outside': [(-300, -200, -250, -150), (5000, 40, 5040, 90)],
    'across the border': [(-6, -8, 12, 14)],
    'huge': [(-4000, -4000, 5000, 5000)],
    'a point': [(9, 9, 9, 9)],
    'twice the same': [(3, 2, 12, 15), (3, 2, 12, 15)],
    'the whole image': [(0, 0, 32, 24)],
}


@pytest.mark.parametrize('size', [(1, 1), (24, 32)])
@pytest.mark.parametrize('name', DEGENERATE)
def test_degenerate_faces(name, size):
    """Beside an ordinary image: the losses are the reference's, and so finite."""
    head = build(theta=0.97)
    outs = head(maps(2, size))
    gts = [instances(DEGENERATE[name]), faces(3, size)]
    losses = head.loss_by_feat(*outs, gts, metas(2, size))
    expected = srn_reference.two_step_losses(
        [split_image(head, outs, i) for i in range(2)],
        [gt.bboxes.double().numpy() for gt in gts],
        [gt.labels.tolist() for gt in gts],
        STRIDES,
        head.stc_levels,
        head.str_levels,
        1,
        theta=0.97,
    )
    assert scalars(losses) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for parameter in head.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_ignored_boxes_without_area_change_nothing():
    head = build()
    head.assigner.ignore_iof_thr = head.first_assigner.ignore_iof_thr = 0.5
    outs = head(maps(2))
    gts = [faces(4), faces(0)]
    plain = head.loss_by_feat(*outs, gts, metas(2))
    for boxes in ([], [(9, 9, 9, 9), (5, 5, 5, 20)]):
        found = head.loss_by_feat(*outs, gts, metas(2), [instances(boxes)] * 2)
        assert scalars(found) == scalars(plain)


def test_no_anchor_may_be_matched():
    """An image smaller than every anchor, with no border allowed."""
    head = build()
    head.train_cfg.allowed_border = 0
    outs = head(maps(1, (3, 3)))
    losses = head.loss_by_feat(*outs, [faces(1, (3, 3))], metas(1, (3, 3)))
    assert set(scalars(losses).values()) == {0}


# --------------------------------------------------------------------- selection


def random_image(rng, size, stc, str_, ties):
    """Outputs of a head for one image, without a network."""
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]

    # float32, so that the reference has the same numbers
    def scores(shape):
        logits = rng.normal(-2, 2, (2, *shape)).astype(np.float32)
        return np.round(logits * 2) / 2 if ties else logits

    def deltas(shape):
        return rng.normal(0, 0.4, (8, *shape)).astype(np.float32)

    return dict(
        first_cls={level: scores(sizes[level]) - 2 for level in stc},
        first_reg={level: deltas(sizes[level]) for level in str_},
        cls=[scores(s) for s in sizes],
        reg=[deltas(s) for s in sizes],
    )


def as_outputs(image):
    values = (
        getattr(each, 'values', lambda each=each: each)() for each in image.values()
    )
    return tuple([torch.from_numpy(m)[None] for m in each] for each in values)


def all_rows(image, stc, str_, theta):
    """Every box that the first step leaves: level, score and box."""
    sizes = [m.shape[-2:] for m in image['cls']]
    found = []
    for level, anchors in enumerate(srn_reference.grid_anchors(sizes, STRIDES)):
        scores = srn_reference.sigmoid(srn_reference.rows(image['cls'][level], 1))
        deltas = srn_reference.rows(image['reg'][level], 4)
        for i, anchor in enumerate(anchors):
            if level in stc:
                first = srn_reference.rows(image['first_cls'][level], 1)[i]
                if srn_reference.dropped(first, theta):
                    continue
            if level in str_:
                first = srn_reference.rows(image['first_reg'][level], 4)[i]
                anchor = srn_reference.decode(anchor, first)
            box = srn_reference.decode(anchor, deltas[i])
            found.append((level, scores[i, 0], box))
    return found, [height * width for height, width in sizes]


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    stc=st.sets(st.integers(0, 2)),
    str_=st.sets(st.integers(0, 2)),
    ties=st.booleans(),
    theta=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    small=st.tuples(st.integers(0, 2), st.sampled_from([-1, 0, 1, -(10**6)])),
    cfg=st.fixed_dictionaries(
        dict(
            score_thr=st.sampled_from([0.0, 0.05, 0.3, 0.999]),
            nms_pre=st.sampled_from([-1, 1, 7, 6000]),
            max_before_nms=st.sampled_from([-1, 1, 20, 2000]),
            max_per_img=st.sampled_from([1, 10, 750]),
            nms=st.fixed_dictionaries(
                dict(
                    type=st.just('nms'),
                    iou_threshold=st.sampled_from([0.1, 0.4, 0.5]),
                    offset=st.integers(0, 1),
                )
            ),
        )
    ),
)
def test_selection(seed, size, stc, str_, ties, theta, small, cfg):
    """Every rule from the maps to the boxes, in any combination, also with ties."""
    stc, str_ = sorted(stc), sorted(str_)
    image = random_image(np.random.default_rng(seed), size, stc, str_, ties)
    head = build(stc_levels=stc, str_levels=str_, theta=theta)
    rows, cells = all_rows(image, stc, str_, theta)
    small_map_cells = cells[small[0]] + small[1]  # about a level's size, or none
    cfg = ConfigDict(cfg, small_map_cells=small_map_cells, small_map_score_thr=0.01)
    outs = as_outputs(image)
    before = head.predict_by_feat(*outs, metas(1, size), cfg, with_nms=False)[0]
    after = head.predict_by_feat(*outs, metas(1, size), cfg)[0]

    levels = []
    for level in range(3):
        threshold = 0.01 if cells[level] < small_map_cells else cfg.score_thr
        scores = sorted((s for at, s, _ in rows if at == level), reverse=True)
        scores = [s for s in scores if s > threshold]
        levels += scores[: cfg.nms_pre if cfg.nms_pre > 0 else None]
    expected = sorted(levels, reverse=True)
    expected = expected[: cfg.max_before_nms if cfg.max_before_nms > 0 else None]
    found = sorted(before.scores.tolist(), reverse=True)
    assert found == pytest.approx(expected, abs=1e-6)

    # each candidate is a row of its own, with that row's box
    free = [np.array([s * 1e3, *box]) for _, s, box in rows]
    for score, box in zip(before.scores.tolist(), before.bboxes.numpy(), strict=True):
        own = np.array([score * 1e3, *box])
        nearest = min(range(len(free)), key=lambda i: np.abs(free[i] - own).max())
        assert free.pop(nearest) == pytest.approx(own, abs=2e-3)

    # and NMS is the greedy one, cut at the best
    assert (after.scores.diff() <= 0).all()
    whole = head.predict_by_feat(
        *outs, metas(1, size), ConfigDict(cfg, max_per_img=10**6)
    )[0]
    assert torch.equal(after.bboxes, whole.bboxes[: cfg.max_per_img])
    assert torch.equal(after.scores, whole.scores[: cfg.max_per_img])
    boxes = before.bboxes.double().numpy()
    scores = before.scores.tolist()
    kept = []
    for box, score in zip(whole.bboxes, whole.scores, strict=True):
        same = (before.bboxes == box).all(1) & (before.scores == score)
        kept.append(next(i for i in same.nonzero()[:, 0].tolist() if i not in kept))
    assert srn_reference.is_greedy_nms(
        boxes, scores, kept, cfg.nms.iou_threshold, cfg.nms.offset == 1, 1e-4
    )


def test_nothing_is_left():
    head = build()
    outs = head(maps(2))
    nothing = ConfigDict(head.test_cfg, score_thr=1.0)
    for result in head.predict_by_feat(*outs, metas(2), nothing, rescale=True):
        assert (result.bboxes.shape, len(result)) == ((0, 4), 0)


# --------------------------------------------------------------------- gradients


def tower(stc, str_, shared=False):
    """SRNFPN and the head, as the detector joins them."""
    torch.manual_seed(0)
    neck = MODELS.build(
        dict(
            type='SRNFPN',
            in_channels=[8, 8],
            out_channels=8,
            extra_channels=(8,),
        )
    )
    neck.init_weights()
    head = build(
        stc_levels=stc,
        str_levels=str_,
        share_cls_predictor=shared,
        share_reg_predictor=shared,
    )
    stages = [torch.randn(1, 8, 12, 16), torch.randn(1, 8, 6, 8)]
    return neck, head, stages


def touched(loss, modules):
    """Names of the parameters that the loss has a gradient for, other than 0."""
    names, parameters = zip(
        *((n, p) for m in modules for n, p in m.named_parameters()), strict=True
    )
    grads = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {n for n, g in zip(names, grads, strict=True) if g is not None and g.any()}


@pytest.mark.parametrize(
    ('stc', 'str_', 'shared'),
    [(*placement, i % 2 == 0) for i, placement in enumerate(PLACEMENTS)]
    + [((0, 1), (2,), True)],
)
def test_what_each_loss_trains(stc, str_, shared):
    """A loss reaches its own branch and the maps of its levels, nothing else."""
    neck, head, stages = tower(stc, str_, shared)
    losses = head.loss_by_feat(*head(neck(stages)), [faces(12)], metas())
    suffix = '' if shared else '_first'
    branches = dict(
        loss_cls_first=('cls_subnet', f'conv_cls{suffix}'),
        loss_bbox_first=('reg_subnet', f'conv_reg{suffix}'),
        loss_cls_second=('cls_subnet', 'conv_cls'),
        loss_bbox_second=('reg_subnet', 'conv_reg'),
    )
    levels = dict(loss_cls_first=stc, loss_bbox_first=str_)
    named = {name for name in losses if name.startswith('loss')}
    assert named == {
        'loss_cls_second',
        'loss_bbox_second',
        *(['loss_cls_first'] if stc else []),
        *(['loss_bbox_first'] if str_ else []),
    }
    for name in named:
        if not losses[name].requires_grad or losses[name] == 0:
            # deep levels may have no first-step positive: IoU 0.7 is a lot
            assert name == 'loss_bbox_first'
            continue
        found = touched(losses[name], [neck, head])
        in_head = {
            n.split('.')[0] for n in found if n.startswith(('cls', 'reg', 'conv'))
        }
        assert in_head == set(branches[name])
        reducers = {int(n.split('.')[1]) for n in found if n.startswith('reducers')}
        in_fpn = any(n.startswith('fpn') for n in found)
        if name.endswith('second'):
            assert not reducers and in_fpn
            assert not any(n.startswith('extra') for n in found)
        else:
            assert reducers <= set(levels[name]) and reducers and not in_fpn
            if name == 'loss_cls_first':
                assert reducers == set(stc)
            assert any(n.startswith('extra') for n in found) == (2 in reducers)
