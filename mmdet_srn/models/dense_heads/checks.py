"""Checks of what ``SRNHead`` is given, with messages that say what to set."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.registry import MODELS

from ..losses.two_stage_focal_loss import TwoStageFocalLoss
from ..task_modules.assigners import OnlineAssigner

if TYPE_CHECKING:
    from .query_srn_head import QuerySRNHead
    from .srn_head import SRNHead


def check_loss(loss_cls: Mapping[str, Any], theta: float) -> None:
    """Check that the loss knows two steps and has the head's threshold."""
    loss_type = loss_cls['type']
    if isinstance(loss_type, str):
        loss_type = MODELS.get(loss_type)
    if loss_type is None or not issubclass(loss_type, TwoStageFocalLoss):
        raise ValueError(
            "SRNHead needs loss_cls=dict(type='TwoStageFocalLoss'), which takes the "
            f'arguments of FocalLoss, got {loss_cls["type"]}'
        )
    if loss_cls.get('theta', theta) != theta:
        raise ValueError(
            f'SRNHead(theta={theta}) with loss_cls theta={loss_cls["theta"]}: '
            'training and test need one threshold; set it on the head'
        )


def check_cfgs(
    train_cfg: Mapping[str, Any] | None, test_cfg: Mapping[str, Any] | None
) -> None:
    """Check the keys of ``train_cfg`` and ``test_cfg`` that only ``SRNHead`` has."""
    train_cfg, test_cfg = train_cfg or {}, test_cfg or {}
    if ('small_map_cells' in test_cfg) != ('small_map_score_thr' in test_cfg):
        raise ValueError('test_cfg.small_map_cells and small_map_score_thr go together')
    vote_iou_thr = test_cfg.get('vote_iou_thr')
    if vote_iou_thr is not None and not 0 < vote_iou_thr <= 1:
        raise ValueError(f'test_cfg.vote_iou_thr={vote_iou_thr} must be in (0, 1]')
    for cfg, name, choices in (
        (test_cfg, 'second_step', ('auto', 'dense', 'sparse')),
        (train_cfg, 'first_avg_levels', ('all', 'own')),
    ):
        if cfg.get(name, choices[0]) not in choices:
            raise ValueError(
                f'{name}={cfg[name]!r} must be one of {", ".join(choices)}'
            )


def check_iou_alpha(test_cfg: Mapping[str, Any] | None) -> None:
    """Check the exponent by which class and IoU are weighed."""
    alpha = (test_cfg or {}).get('iou_alpha', 1)
    if not 0 < alpha <= 1:
        raise ValueError(
            f'test_cfg.iou_alpha={alpha} must be in (0, 1]; with 1 the IoU does not '
            'count'
        )


def sort_levels(name: str, levels: Iterable[int], num_levels: int) -> tuple[int, ...]:
    """Sort the levels of a placement, all below ``num_levels``."""
    given = sorted(levels) if isinstance(levels, Iterable) else [None]
    if not set(given) <= set(range(num_levels)) or len(set(given)) != len(given):
        raise ValueError(
            f'{name}={levels!r} must be distinct levels from 0, the finest, to '
            f'{num_levels - 1}, such as (0, 1), or () for none: the anchor generator '
            f'has {num_levels} strides'
        )
    return tuple(given)


def check_query_levels(head: 'QuerySRNHead') -> None:
    """Check that each query level has a first step and a coarser level; sort them."""
    num_levels = head.prior_generator.num_levels
    head.query_levels = sort_levels('query_levels', head.query_levels, num_levels)
    able = set(head.stc_levels) - {num_levels - 1}
    if not set(head.query_levels) <= able:
        raise ValueError(
            f'query_levels={head.query_levels} must be of stc_levels, and not the '
            f'coarsest: {tuple(sorted(able))}'
        )


def check_layers(head: 'SRNHead') -> None:
    """Check anchors per cell, channels and depth of the subnets."""
    num_anchors = head.prior_generator.num_base_priors
    if len(set(num_anchors)) > 1:
        raise ValueError(
            'SRNHead shares its predictors between the levels and so needs as many '
            f'anchors per cell on each, got {num_anchors}; give each level of the '
            'anchor generator as many ratios and scales'
        )
    if not isinstance(head.in_channels, int):
        raise ValueError(
            'SRNHead shares its subnets between the levels and so needs one number of '
            f'channels, got in_channels={head.in_channels}; end the neck with '
            "dict(type='ChannelMapper', in_channels=..., out_channels=..., "
            'num_outs=...)'
        )
    if head.rfe_cfg is not None and head.stacked_convs < 3:
        raise ValueError(
            f'stacked_convs={head.stacked_convs}: the block of rfe_cfg replaces the '
            'middle two of at least 3 convolutions; rfe_cfg=None leaves it out'
        )


def check_matching(head: 'SRNHead') -> None:
    """Check that both assigners match by IoU and that nothing is sampled."""
    for name in ('first_assigner', 'assigner'):
        assigner = getattr(head, name)
        # Others want predictions or levels; the second step's priors have moved.
        if not isinstance(assigner, MaxIoUAssigner):
            raise ValueError(
                f'train_cfg.{name}={type(assigner).__name__}: each step is matched by '
                'the IoU of its priors alone; use GridMaxIoUAssigner, MaxIoUAssigner '
                'or a subclass'
            )
    if isinstance(head.first_assigner, OnlineAssigner):
        raise ValueError(
            f'train_cfg.first_assigner={type(head.first_assigner).__name__} adds '
            'positives by the boxes of the second step: it is for train_cfg.assigner'
        )
    if not isinstance(head.sampler, PseudoSampler):
        raise ValueError(
            f'train_cfg.sampler={type(head.sampler).__name__}: SRNHead has a focal '
            'loss and does not sample; leave the sampler out'
        )


def check_map_sizes(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[tuple[int, int]],
    batch_img_metas: Sequence[Mapping[str, Any]],
) -> None:
    """Check that the maps have the strides of their anchors.

    A difference of two cells is left to backbones that round or do not pad. Nothing is
    checked where the meta information lacks the input's size.
    """
    shape = batch_img_metas[0].get('batch_input_shape')
    if shape is None:
        return
    for level, (size, (stride_w, stride_h)) in enumerate(
        zip(sizes, strides, strict=True)
    ):
        expected = shape[0] / stride_h, shape[1] / stride_w
        if any(abs(a - b) > 2 for a, b in zip(size, expected, strict=True)):
            raise ValueError(
                f'level {level}: a {size[0]}x{size[1]} map for a {shape[0]}x{shape[1]} '
                f'input (h x w) does not match the anchor stride {stride_h}; set '
                "bbox_head.anchor_generator.strides to those of the neck's maps"
            )


def check_maps(head: 'SRNHead', maps: Sequence) -> None:
    """Check the number and channels of the neck's maps."""
    for number, feature_map in enumerate(maps):
        if feature_map.shape[1] != head.in_channels:
            raise ValueError(
                f'map {number} of the neck has {feature_map.shape[1]} channels, but '
                f'SRNHead was built for in_channels={head.in_channels}; set '
                "bbox_head.in_channels to the neck's out_channels"
            )
    num_levels = head.prior_generator.num_levels
    if len(maps) not in (num_levels, 2 * num_levels):
        raise ValueError(
            f'SRNHead has {num_levels} strides and so takes {num_levels} maps for both '
            f"steps, or {2 * num_levels}, the first step's before the second's; the "
            f'neck gave {len(maps)}. Change the strides of the anchor generator or '
            'num_outs of the neck'
        )


def check_steps(
    head: 'SRNHead', first: Sequence, second: Sequence, one_map: bool
) -> None:
    """Check that the steps can learn different things of their maps.

    Args:
        head: The head, in training.
        first: The first step's maps; the second step's where the neck made none.
        second: The second step's maps.
        one_map: Whether both steps read the same maps, by design of the neck.
    """
    shared = (
        ('cls', head.stc_levels, head.share_cls_predictor),
        ('reg', head.str_levels, head.share_reg_predictor),
    )
    if one_map:
        for name, levels, share in shared:
            if levels and share:
                raise ValueError(
                    f'both steps of levels {levels} read one map with one predictor '
                    'and so would predict the same: with a neck of one map per level, '
                    f'set bbox_head.share_{name}_predictor=False'
                )
        return
    used = {*head.stc_levels, *head.str_levels}
    made = {level for level in range(len(first)) if first[level] is not second[level]}
    placements = f'stc_levels={head.stc_levels} and str_levels={head.str_levels}'
    if used - made:
        raise ValueError(
            f'the neck made no map of level {min(used - made)} for the first step, '
            f'which has {placements}; add it to neck.first_levels'
        )
    if made - used:
        warnings.warn(
            f'the neck makes maps of levels {sorted(made - used)} for the first step, '
            f'which has {placements} and does not read them: wasted work, and '
            'parameters without gradient, which stop distributed training; set '
            f'neck.first_levels={tuple(sorted(used))}',
            stacklevel=2,
        )
