import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from mmdet_srn.models.dense_heads.matching import assign_priors
from tests.reference import srn_reference

ASSIGNER = dict(
    type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, match_low_quality=False
)
PLACEMENTS = [
    ((), ()),
    ((0,), ()),
    ((), (2,)),
    ((0, 1), (2,)),
    ((0, 1, 2), (0, 1, 2)),
    ((2, 0), (1,)),
]


def head_cfg(**kwargs):
    """A slim head on three levels."""
    cfg = dict(
        type='SRNHead',
        num_classes=1,
        in_channels=8,
        feat_channels=8,
        stc_levels=(0, 1),
        str_levels=(2,),
        anchor_generator=dict(type='SRNAnchorGenerator', strides=[4, 8, 16]),
        train_cfg=ConfigDict(assigner=ASSIGNER),
        test_cfg=ConfigDict(
            score_thr=0.0,
            max_before_nms=200,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=100,
        ),
    )
    cfg.update(kwargs)
    return cfg


def build(seed=0, **kwargs):
    torch.manual_seed(seed)
    head = MODELS.build(head_cfg(**kwargs))
    head.init_weights()
    # as if trained: scores on both sides of theta, boxes that move
    for name, parameter in head.named_parameters():
        if name.startswith('conv_') and name.endswith('weight'):
            gain = 5 if 'cls' in name else 1
            torch.nn.init.xavier_uniform_(parameter, gain)
    return head


def maps(num_imgs=1, size=(48, 64), steps=2, channels=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16)]
    return [
        torch.randn(num_imgs, channels, *shape, generator=generator)
        for shape in shapes * steps
    ]


def metas(num_imgs=1, size=(48, 64)):
    return [
        dict(img_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        for _ in range(num_imgs)
    ]


def faces(number, size=(48, 64), num_classes=1, seed=0):
    """Boxes near anchors of every level, as InstanceData."""
    rng = np.random.default_rng(seed)
    anchors = srn_reference.grid_anchors(
        [(-(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16)], (4, 8, 16)
    )
    picked = [anchors[i % 3][rng.integers(len(anchors[i % 3]))] for i in range(number)]
    boxes = np.array(picked).reshape(-1, 4)
    jitter = rng.uniform(-0.06, 0.06, boxes.shape)
    boxes += jitter * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.tensor(rng.integers(0, num_classes, number)),
    )


def scalars(losses):
    return {name: value.item() for name, value in losses.items()}


def split_image(head, outs, image):
    """The outputs of one image, as the reference takes them."""
    first_cls, first_reg, cls, reg = (
        [m[image].detach().double().numpy() for m in out] for out in outs
    )
    return dict(
        first_cls=dict(zip(head.stc_levels, first_cls, strict=True)),
        first_reg=dict(zip(head.str_levels, first_reg, strict=True)),
        cls=cls,
        reg=reg,
    )


@settings(max_examples=15, deadline=None)
@given(
    stc=st.sets(st.integers(0, 2)),
    str_=st.sets(st.integers(0, 2)),
    numbers=st.lists(st.integers(0, 6), min_size=1, max_size=2),
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(17, 40), st.integers(17, 40)),
    shared=st.booleans(),
    num_classes=st.sampled_from([1, 3]),
    filter_positives=st.booleans(),
    decoded=st.booleans(),
)
@example({0, 1}, {2}, [15, 0], 1, (48, 64), False, 3, False, False)
@example({0, 1, 2}, {0, 1, 2}, [15, 0], 1, (48, 64), False, 1, True, True)
def test_losses_against_the_reference(
    stc, str_, numbers, seed, size, shared, num_classes, filter_positives, decoded
):
    bbox = dict(reg_decoded_bbox=True, loss_bbox=dict(type='DIoULoss'))
    head = build(
        seed,
        stc_levels=stc,
        str_levels=str_,
        num_classes=num_classes,
        share_cls_predictor=shared,
        share_reg_predictor=shared,
        theta=0.97,
        loss_cls=dict(type='TwoStageFocalLoss', filter_positives=filter_positives),
        **(bbox if decoded else {}),
    )
    outs = head(maps(len(numbers), size, seed=seed))
    gts = [faces(n, size, num_classes, seed + i) for i, n in enumerate(numbers)]
    losses = head.loss_by_feat(*outs, gts, metas(len(numbers), size))
    expected = srn_reference.two_step_losses(
        [split_image(head, outs, i) for i in range(len(numbers))],
        [gt.bboxes.double().numpy() for gt in gts],
        [gt.labels.tolist() for gt in gts],
        [4, 8, 16],
        stc,
        str_,
        num_classes,
        theta=0.97,
        filter_positives=filter_positives,
        bbox_loss=srn_reference.diou_loss if decoded else srn_reference.delta_loss,
    )
    assert scalars(losses) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    if numbers == [15, 0]:
        assert losses['num_pos_second'] > 0 and losses['loss_bbox_first'] > 0
        assert 0.02 < losses['stc_survivors'] < 0.98


@pytest.mark.parametrize(
    ('stc', 'str_', 'num_classes', 'vote'),
    [
        (*placement, 1 + 2 * (i % 2), 0.5 if i in (3, 4) else None)
        for i, placement in enumerate(PLACEMENTS)
    ],
)
def test_detections_against_the_reference(stc, str_, num_classes, vote):
    head = build(stc_levels=stc, str_levels=str_, num_classes=num_classes, theta=0.97)
    head.test_cfg.score_thr = 0.01
    head.test_cfg.nms_pre = 60
    head.test_cfg.vote_iou_thr = vote
    outs = head(maps(2))
    results = head.predict_by_feat(*outs, batch_img_metas=metas(2))
    for i, result in enumerate(results):
        boxes, scores, labels = srn_reference.detect(
            split_image(head, outs, i),
            [4, 8, 16],
            stc,
            str_,
            num_classes,
            theta=0.97,
            score_thr=0.01,
            nms_pre=60,
            max_before_nms=200,
            max_per_img=100,
            vote_iou_thr=vote,
        )
        assert len(scores) > 5
        assert result.scores.detach().numpy() == pytest.approx(scores, abs=1e-5)
        assert result.bboxes.detach().numpy() == pytest.approx(boxes, abs=1e-3)
        assert result.labels.tolist() == labels.tolist()


def test_soft_nms(repo_root):
    """Of its config, in the place of NMS."""
    cfg = Config.fromfile(repo_root / 'configs/successors/soft_nms.py')
    head = build()
    outs = head(maps())
    (before,) = head.predict_by_feat(*outs, metas(), with_nms=False)
    head.test_cfg.nms = cfg.model.test_cfg.nms
    (after,) = head.predict_by_feat(*outs, metas())
    expected = srn_reference.soft_nms(
        before.bboxes.detach().double().numpy(), before.scores.tolist(), threshold=0.4
    )[:100]
    assert len(expected) > 50
    assert not set(expected[:, 4]) <= set(before.scores.tolist())
    rows = torch.cat([after.bboxes, after.scores[:, None]], dim=1).detach().numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('level', 'learns'), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize('step', ['stc_levels', 'str_levels'])
def test_a_best_anchor_does_not_depend_on_the_placement(step, level, learns):
    """Of all levels, not of those that the first step works on."""
    low_quality = dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.7,
        neg_iou_thr=0.3,
        min_pos_iou=0.3,
        match_low_quality=True,
    )
    placement = {**dict(stc_levels=(), str_levels=()), step: (level,)}
    head = build(**placement)
    head.first_assigner = TASK_UTILS.build(low_quality)
    sizes = [(12, 16), (6, 8), (3, 4)]
    anchor = head.prior_generator.grid_priors(sizes, device='cpu')[1][2 * 27]
    # too wide for the threshold, and at an IoU of over 0.3 with anchors of level 0
    face = anchor.clone()
    face[2] += 0.5 * (anchor[2] - anchor[0])
    gts = InstanceData(bboxes=face[None], labels=torch.zeros(1, dtype=torch.long))
    outs = head(maps())
    (first,) = outs[0] or outs[1]
    losses = head.loss_by_feat(*outs, [gts], metas())
    assert losses['num_pos_first'] == 1
    name = 'loss_cls_first' if step == 'stc_levels' else 'loss_bbox_first'
    (gradient,) = torch.autograd.grad(losses[name], first)
    # a face pulls its score up, the background pushes down; boxes are faces' alone
    pulled = gradient < 0 if step == 'stc_levels' else gradient != 0
    assert pulled.any() == learns


def test_one_step_is_a_stock_anchor_head():
    """Without placements: RetinaNet's losses and boxes, to the last digit."""
    head = build(stc_levels=(), str_levels=(), rfe_cfg=None)
    retina = MODELS.build(
        dict(
            type='RetinaHead',
            num_classes=1,
            in_channels=8,
            feat_channels=8,
            stacked_convs=4,
            anchor_generator=head_cfg()['anchor_generator'],
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', clip_border=False),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
            train_cfg=ConfigDict(assigner=ASSIGNER, allowed_border=-1, pos_weight=-1),
            test_cfg=ConfigDict(
                score_thr=0.02,
                nms_pre=1000,
                nms=dict(type='nms', iou_threshold=0.5),
                max_per_img=100,
            ),
        )
    )
    head.test_cfg = retina.test_cfg
    # RetinaHead has a 3x3 predictor where SRN has a 1x1 one.
    for ours, theirs in (('conv_cls', 'retina_cls'), ('conv_reg', 'retina_reg')):
        stock = getattr(retina, theirs)
        stock.weight.data.zero_()
        stock.weight.data[:, :, 1:2, 1:2] = getattr(head, ours).weight.data
        stock.bias.data = getattr(head, ours).bias.data
    for ours, theirs in (
        (head.cls_subnet, retina.cls_convs),
        (head.reg_subnet, retina.reg_convs),
    ):
        theirs.load_state_dict(ours.state_dict())

    x = maps(2, steps=1)
    gts = [faces(9), faces(5, seed=3)]
    losses = head.loss_by_feat(*head(x), gts, metas(2))
    stock = retina.loss_by_feat(*retina(x), gts, metas(2))
    assert set(losses) == {'loss_cls_second', 'loss_bbox_second', 'num_pos_second'}
    for ours, theirs in (
        ('loss_cls_second', 'loss_cls'),
        ('loss_bbox_second', 'loss_bbox'),
    ):
        torch.testing.assert_close(losses[ours], sum(stock[theirs]))

    ours = head.predict_by_feat(*head(x), batch_img_metas=metas(2))
    theirs = retina.predict_by_feat(*retina(x), batch_img_metas=metas(2))
    for a, b in zip(ours, theirs, strict=True):
        assert len(a) > 5
        torch.testing.assert_close(a.bboxes, b.bboxes)
        torch.testing.assert_close(a.scores, b.scores)


def test_ignored_faces_are_no_negatives():
    head = build()
    head.assigner.ignore_iof_thr = head.first_assigner.ignore_iof_thr = 0.5
    outs = head(maps())
    # every anchor lies in the ignored box by more than half
    everything = InstanceData(bboxes=torch.tensor([[-500.0, -500.0, 500.0, 500.0]]))
    for number in (0, 1):
        losses = head.loss_by_feat(*outs, [faces(number)], metas(), [everything])
        assert losses['loss_cls_second'] == losses['loss_cls_first'] == 0
    # without a threshold they are background, as in mmdet
    head.assigner.ignore_iof_thr = head.first_assigner.ignore_iof_thr = -1
    losses = head.loss_by_feat(*outs, [faces(0)], metas(), [everything])
    assert losses['loss_cls_second'] > 0 and losses['loss_cls_first'] > 0


@pytest.mark.parametrize('type_', ['GridMaxIoUAssigner', 'MaxIoUAssigner'])
@pytest.mark.parametrize('wrt_candidates', [True, False])
def test_an_ignored_box_takes_out_the_same_priors_beside_a_face(type_, wrt_candidates):
    """And alone, where mmdet's assigner does not look at it."""
    assigner = TASK_UTILS.build(
        dict(
            type=type_,
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            match_low_quality=False,
            ignore_iof_thr=0.5,
            ignore_wrt_candidates=wrt_candidates,
        )
    )
    grid = TASK_UTILS.build(dict(type='SRNAnchorGenerator', strides=[4, 8, 16]))
    priors = torch.cat(grid.grid_priors([(12, 16), (6, 8), (3, 4)], device='cpu'))
    ignored = InstanceData(bboxes=torch.tensor([[20.0, 8.0, 34.0, 26.0]]))
    alone, beside = (
        assign_priors(assigner, InstanceData(priors=priors), gts, ignored).gt_inds == -1
        for gts in (
            faces(0),
            InstanceData(
                bboxes=priors[:1] + 900, labels=torch.zeros(1, dtype=torch.long)
            ),
        )
    )
    assert torch.equal(alone, beside)
    assert 0 < alone.sum() < len(priors)


@pytest.mark.parametrize('stc', [(), (0, 1, 2)])
def test_no_row_is_no_call_of_the_kernel(stc, monkeypatch):
    """mmcv's CUDA operator fails on empty tensors, which the CPU does not show."""
    head = build(stc_levels=stc)
    stock = head.loss_cls.focal_loss.forward

    def strict(logits, *args, **kwargs):
        assert len(logits)
        return stock(logits, *args, **kwargs)

    monkeypatch.setattr(head.loss_cls.focal_loss, 'forward', strict)
    outs = head(maps())
    for scores in outs[0]:
        scores.data.fill_(-20)  # nothing survives
    losses = head.loss_by_feat(*outs, [faces(0)], metas())
    if stc:
        assert losses['loss_cls_second'] == 0 and losses['stc_survivors'] == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name


def test_padding_is_not_matched():
    head = build(stc_levels=(), str_levels=())
    outs = head(maps(1, (48, 64)))
    meta = dict(img_shape=(48, 32), pad_shape=(48, 32))
    gts = faces(5, (48, 32))
    half = head.loss_by_feat(*outs, [gts], [meta])
    cut = [[m[..., : m.shape[-1] // 2] for m in out] for out in outs]
    alone = head.loss_by_feat(*cut, [gts], [meta])
    assert scalars(half) == pytest.approx(scalars(alone), rel=1e-5)


def test_bias_is_the_prior():
    head = MODELS.build(head_cfg())
    head.init_weights()
    for predictor in (head.conv_cls, head.conv_cls_first):
        assert predictor.bias.sigmoid().tolist() == pytest.approx([0.01] * 2)
        assert predictor.weight.any()
    bound = (6 / (9 * 16)) ** 0.5
    assert 0.9 * bound < head.cls_subnet[0].conv.weight.abs().max() <= bound


def test_mixed_precision():
    """Of the losses: test_engine/test_bfloat16_optim_wrapper.py."""
    head = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = head(maps())
        assert outs[2][0].dtype == torch.bfloat16
        boxes = head.predict_by_feat(*outs, batch_img_metas=metas())[0]
    assert boxes.bboxes.dtype == boxes.scores.dtype == torch.float32


@pytest.mark.parametrize('share', [False, True])
def test_every_parameter_has_a_gradient_without_a_positive(share):
    """Or distributed training stops; mmdet's losses by IoU leave the graph there."""
    giou = dict(type='GIoULoss')
    head = build(share_reg_predictor=share, reg_decoded_bbox=True, loss_bbox=giou)
    losses = head.loss_by_feat(*head(maps()), [faces(8)], metas())
    assert 0 < losses['loss_bbox_first'] < 2 and 0 < losses['loss_bbox_second'] < 2
    losses = head.loss_by_feat(*head(maps()), [faces(0)], metas())
    assert losses['loss_bbox_first'] == losses['loss_bbox_second'] == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name


def test_boxes_are_not_clipped_and_are_rescaled():
    head = build(stc_levels=(), str_levels=())
    outs = head(maps())
    meta = dict(img_shape=(48, 64), pad_shape=(48, 64), scale_factor=(2.0, 0.5))
    plain = head.predict_by_feat(*outs, [meta])[0]
    scaled = head.predict_by_feat(*outs, [meta], rescale=True)[0]
    assert plain.bboxes.min() < 0
    torch.testing.assert_close(
        scaled.bboxes, plain.bboxes / torch.tensor([2.0, 0.5, 2.0, 0.5])
    )
