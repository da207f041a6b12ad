"""What somebody can get wrong with SRNHead in a detector of their own."""

import re
import warnings

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmdet_srn  # noqa: F401

ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4)
SIZE = (64, 96)


def build(strides=(8, 16, 32), train_cfg=None, **kwargs):
    config = dict(
        type='SRNHead',
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stc_levels=(0,),
        str_levels=(1, 2),
        share_reg_predictor=False,  # one map a level
        anchor_generator=dict(type='SRNAnchorGenerator', strides=strides),
        train_cfg=ConfigDict({'assigner': ASSIGNER, **(train_cfg or {})}),
        test_cfg=ConfigDict(),
    )
    return MODELS.build({**config, **kwargs})


def maps(channels=8, strides=(8, 16, 32), steps=1):
    return [
        torch.zeros(1, channels, SIZE[0] // s, SIZE[1] // s) for s in strides * steps
    ]


def ssd_anchors(ratios):
    sizes = dict(min_sizes=[10, 20, 40], max_sizes=[20, 40, 80])
    return dict(type='SSDAnchorGenerator', strides=[8, 16, 32], ratios=ratios, **sizes)


ATSS = dict(type='ATSSAssigner', topk=9)
RANDOM = dict(type='RandomSampler', num=8, pos_fraction=0.5)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(stc_levels=(0, 3)), 'stc_levels=(0, 3) must be distinct levels from 0'),
        (dict(str_levels=(-1,)), 'the anchor generator has 3 strides'),
        (dict(str_levels=(1, 1)), 'str_levels=(1, 1) must be distinct'),
        # str_levels' default is for six levels
        (dict(str_levels=(3, 4, 5)), 'to 2, such as (0, 1), or () for none'),
        (dict(stc_levels=0), 'stc_levels=0 must be distinct levels'),
        (dict(stc_levels=None), 'such as (0, 1), or () for none'),
        (dict(str_levels='12'), "str_levels='12' must be distinct levels"),
        (dict(str_levels=(1.5,)), 'str_levels=(1.5,) must be distinct levels'),
        (
            dict(anchor_generator=ssd_anchors([[2], [2, 3], [2, 3]])),
            'as many anchors per cell on each, got [4, 6, 6]; give each level',
        ),
        (dict(in_channels=(8, 16, 32)), "dict(type='ChannelMapper'"),
        (dict(feat_channels=3, rfe_cfg=dict(type='RFE')), 'one channel per branch'),
        (dict(stacked_convs=2), 'rfe_cfg=None leaves it out'),
        (
            dict(loss_cls=dict(type='FocalLoss', use_sigmoid=True)),
            "loss_cls=dict(type='TwoStageFocalLoss')",
        ),
        (
            dict(train_cfg=dict(assigner=ATSS)),
            'train_cfg.assigner=ATSSAssigner: each step is matched by the IoU',
        ),
        (
            dict(train_cfg=dict(first_assigner=ATSS)),
            'train_cfg.first_assigner=ATSSAssigner: each step is matched',
        ),
        (dict(train_cfg=dict(sampler=RANDOM)), 'leave the sampler out'),
        (dict(test_cfg=ConfigDict(second_step='some')), "second_step='some' must be"),
        (dict(test_cfg=ConfigDict(vote_iou_thr=1.5)), 'vote_iou_thr=1.5 must be'),
        (dict(train_cfg=dict(first_avg_levels='stc')), "first_avg_levels='stc'"),
    ],
)
def test_at_build_time(kwargs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**kwargs)


def test_what_is_right_builds():
    """The same arguments, as they should be."""
    build(stc_levels=[2, 0], str_levels=())
    build(anchor_generator=ssd_anchors([[2, 3]] * 3))
    build(rfe_cfg=dict(type='RFE', in_channels=8))
    build(train_cfg=dict(sampler=dict(type='PseudoSampler'), first_assigner=ASSIGNER))


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (maps()[:2], 'takes 3 maps for both steps, or 6'),
        (maps() * 3, 'the neck gave 9. Change the strides'),
        ([*maps()[:2], *maps(4)[2:]], 'map 2 of the neck has 4 channels'),
        (maps(16, steps=2), "set bbox_head.in_channels to the neck's out_channels"),
    ],
)
def test_when_the_first_maps_come(given, message):
    head = build().eval()
    for call in (head, lambda given: head.predict(given, [])):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(given)


def test_a_level_that_the_neck_did_not_make():
    """As SRNFPN with other ``first_levels`` than the head's placements."""
    first, second = maps(), maps()
    head = build(stc_levels=(0,), str_levels=(2,))
    assert len(head((first[0], second[1], first[2], *second))) == 4
    for made in ((0, 1), (1, 2)):
        given = [first[i] if i in made else second[i] for i in range(3)]
        (missing,) = {0, 2} - set(made)
        with pytest.raises(ValueError, match=f'no map of level {missing} .*first_lev'):
            head((*given, *second))


@pytest.mark.parametrize(
    ('kwargs', 'name'),
    [
        (dict(stc_levels=(), share_reg_predictor=True), 'share_reg_predictor'),
        (dict(str_levels=(), share_cls_predictor=True), 'share_cls_predictor'),
    ],
)
def test_one_predictor_on_one_map(kwargs, name):
    """Both steps would predict the same; trained weights may be read that way."""
    head = build(**kwargs)
    with pytest.raises(ValueError, match=f'one map .*set bbox_head.{name}=False'):
        head(maps())
    head(maps(steps=2))
    head.eval()(maps())
    build(**{**kwargs, name: False})(maps())


def test_maps_that_the_first_step_does_not_read():
    """As SRNFPN makes them without ``first_levels``."""
    head = build(stc_levels=(0,), str_levels=())
    with pytest.warns(UserWarning, match=r'\[1, 2\].*set neck.first_levels=\(0,\)'):
        head(maps(steps=2))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        head.eval()(maps(steps=2))
        first, second = maps(), maps()
        head.train()((first[0], *second[1:], *second))


def losses(head, feature_maps, **meta):
    faces = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 30.0, 40.0]]), labels=torch.tensor([1])
    )
    meta = dict(img_shape=SIZE, pad_shape=SIZE, **meta)
    return head.loss_by_feat(*head(feature_maps), [faces], [meta])


@pytest.mark.parametrize(
    ('strides', 'level'), [((4, 8, 16), 0), ((8, 16, 64), None), ((8, 32, 64), 1)]
)
def test_strides_that_are_not_the_maps(strides, level):
    """Of an input of 64x96 pixels with maps of stride 8, 16 and 32."""
    head = build(strides)
    if level is None:  # 2x3 cells where 1x1.5 would be: near enough
        losses(head, maps(), batch_input_shape=SIZE)
        return
    message = f'level {level}: a .* map for a 64x96 input .*anchor stride'
    with pytest.raises(ValueError, match=message):
        losses(head, maps(), batch_input_shape=SIZE)
    sample = DetDataSample(
        metainfo=dict(img_shape=SIZE, scale_factor=(1.0, 1.0), batch_input_shape=SIZE)
    )
    for second_step in ('dense', 'auto'):
        head.test_cfg = ConfigDict(second_step=second_step)
        with pytest.raises(ValueError, match=message):
            head.eval().predict(maps(), [sample])
    losses(head, maps())  # nothing says of what size the input is


@pytest.mark.parametrize('size', [(64, 96), (63, 95), (65, 97), (70, 100), (49, 81)])
def test_sizes_that_are_rounded(size):
    """A neck's maps are rounded up, some backbones round down or do not pad."""
    head = build()
    for rounded in (0, 0.999, -1):
        shapes = [
            [max(int(side / stride + rounded), 1) for side in size]
            for stride in (8, 16, 32)
        ]
        given = [torch.zeros(1, 8, *shape) for shape in shapes]
        assert losses(head, given, batch_input_shape=size)['loss_cls_second'] > 0


@pytest.mark.parametrize('number', range(6))
def test_stacked_convs(number):
    """That many 3x3 convolutions, RFE in the place of the middle two."""
    for rfe_cfg in [None] if number < 3 else [None, dict(type='RFE')]:
        head = build(in_channels=12, stacked_convs=number, rfe_cfg=rfe_cfg)
        names = [type(layer).__name__ for layer in head.cls_subnet]
        if rfe_cfg:
            assert names.count('RFE') == 1 and len(names) == number - 1
            assert abs(2 * names.index('RFE') + 2 - number) <= 1
        else:
            assert names == ['ConvModule'] * number
        assert [m.shape[1] for m in head(maps(12))[2]] == [6] * 3


@pytest.mark.parametrize(
    'name', ['get_targets', '_get_targets_single', 'loss_by_feat_single']
)
def test_inherited_methods_for_one_step_raise(name):
    with pytest.raises(NotImplementedError, match='use match_step and loss_by_feat'):
        getattr(build(), name)([], [])
