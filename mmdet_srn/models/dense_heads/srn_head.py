"""SRN's head: selective two-step classification and regression."""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.task_modules.assigners import BaseAssigner, MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..losses.avg_factors import AvgFactors
from ..losses.two_stage_focal_loss import TwoStageFocalLoss, survives
from ..task_modules.assigners import find_ignored
from ..utils.deferred_map import DeferredMap, to_dense
from ..utils.partial_map import SPARSE_COST, PartialMaps, SparseModule
from .level_outputs import LevelOutputs, Reader, map_readers, partial_readers

PAPER_FIRST_ASSIGNER = dict(
    type='GridMaxIoUAssigner',
    pos_iou_thr=0.7,
    neg_iou_thr=0.3,
    match_low_quality=False,
    ignore_iof_thr=0.5,
)
"""Matching of the first step where train_cfg names none (paper, 'Training')."""


class StepTargets(NamedTuple):
    """What the anchors of one step are to learn, with N images and P anchors.

    Attributes:
        labels (Tensor): (N, P), from 0 to num_classes, which is background.
        label_weights (Tensor): (N, P), 0 for anchors between the thresholds.
        bbox_targets (Tensor): (N, P, 4), deltas (or, under
            ``reg_decoded_bbox``, boxes) of the positives, 0 elsewhere.
    """

    labels: Tensor
    label_weights: Tensor
    bbox_targets: Tensor


@MODELS.register_module()
class SRNHead(AnchorHead):
    """Head of the Selective Refinement Network (https://arxiv.org/abs/1809.02693).

    On ``stc_levels`` a first classification drops the anchors that are surely
    background, and the second classifies what is left (STC). On ``str_levels``
    a first regression moves the anchors, and the second starts from the boxes
    so found (STR). A first-step branch that no level uses is neither built nor
    computed. With both placements empty it is a one-step anchor head.

    The head gets either L maps, which both steps read, so that any FPN will
    do; or 2L maps, as ``SRNFPN`` returns them: the first half for the first
    step, the second half for the second. The steps share the subnets and the
    box predictor; the class predictor is one per step. On L maps a shared
    predictor would say the same in both steps, so there the box predictor has
    to be one per step as well.

    ``train_cfg`` holds ``assigner`` for the second step, as any head of mmdet,
    ``first_assigner`` for the first (default: IoU 0.7 / 0.3, no low quality
    matches), ``allowed_border`` and ``pos_weight``. Losses are divided by the
    positives of their step on all levels, at least 1; under
    ``first_avg_levels='own'`` those of the first step by its positives on the STC or
    the STR levels. ``avg_factor_momentum`` averages these numbers over batches (see
    ``AvgFactors``; default: no). ``test_cfg`` knows, beside
    mmdet's ``score_thr``, ``nms_pre`` (per level), ``nms`` and ``max_per_img``:
    ``max_before_nms``, the number of candidates that all levels together send
    to NMS; ``small_map_cells`` with ``small_map_score_thr``, the threshold on
    levels of fewer cells than that (released code; default: none such); and
    ``second_step``, where ``predict`` computes the second step. 'dense' is
    everywhere. 'sparse' is at the survivors of the first alone, and the box
    subnets where a box is asked for; exact but for rounding. 'auto', the
    default, chooses for each level and image what takes less time, and is 'dense' on
    a GPU, where that was not measured. A subnet with
    a norm that sees the whole map, such as ``GN``, or another unknown layer is
    computed on whole maps, and not at all where nothing of them is asked for.

    Args:
        num_classes (int): Number of classes without background.
        in_channels (int): Channels of the input maps, the same on all levels.
        feat_channels (int): Channels of the subnets. Defaults to 256.
        stacked_convs (int): 3x3 convolutions of each subnet, as in mmdet's
            ``RetinaHead``; the block of ``rfe_cfg`` takes the place of the middle
            two, and of at least 3. Without any the predictors read the maps
            themselves. Defaults to 4: 3x3, RFE, 3x3 (released code).
        stc_levels (Sequence[int]): Levels, 0 the finest, classified in two
            steps. Defaults to (0, 1, 2), P2 to P4 (paper).
        str_levels (Sequence[int]): Levels regressed in two steps. Defaults to
            (3, 4, 5), P5 to P7 (paper).
        theta (float): First-step negative confidence above which an anchor is
            dropped, in training and at test. With several classes the best
            one counts. Defaults to 0.99 (paper).
        share_cls_predictor (bool): Whether both steps use one last
            classification layer (released code) or each its own. Defaults to
            False.
        share_reg_predictor (bool): Whether both steps use one last box layer.
            Defaults to True (released code); for STR on a neck that gives one map
            a level, False.
        rfe_cfg (dict, optional): The block in the middle of each subnet; gets
            ``in_channels`` and ``norm_cfg``. None is RetinaNet's subnet of 3x3
            convolutions alone (paper's baseline). Defaults to
            ``dict(type='RFE')``.
        norm_cfg (dict, optional): Normalisation inside the subnets, whose
            statistics both steps and all levels share. Defaults to None.
        anchor_generator (dict): Defaults to ``SRNAnchorGenerator``.
        bbox_coder (dict): Defaults to plain deltas, boxes not clipped.
        reg_decoded_bbox (bool): As in ``AnchorHead``: regression losses see
            boxes instead of deltas. Defaults to False.
        loss_cls (dict): ``TwoStageFocalLoss``, which gets ``theta`` from here.
        loss_bbox (dict): Loss of both regressions. Defaults to smooth L1 (paper)
            with beta 1/9 (RetinaNet's code; the paper prints none).
        train_cfg (dict, optional): See above.
        test_cfg (dict, optional): See above.
        init_cfg (dict, optional): Defaults to Xavier for the subnets (paper) and
            N(0, 0.01) for the predictors (released code), with the prior 0.01 in
            the bias of the class predictors (paper). Xavier's predictors move the
            first refined boxes by about their own size.

    Raises:
        ValueError: If a placement names a level twice or one that the anchor
            generator has not, if the levels differ in anchors per cell or in
            channels, if ``rfe_cfg`` has other channels or too few
            ``stacked_convs``, if ``loss_cls`` is another loss or has another
            theta, if an assigner or the sampler cannot serve here, if one of
            the two keys for small maps is missing, or if ``second_step`` is
            none of the three. When maps come in: if their number, channels or
            sizes are not those that the arguments name, or, in training, if a
            level's steps read one map by one predictor.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        stacked_convs: int = 4,
        stc_levels: Sequence[int] = (0, 1, 2),
        str_levels: Sequence[int] = (3, 4, 5),
        theta: float = 0.99,
        share_cls_predictor: bool = False,
        share_reg_predictor: bool = True,
        rfe_cfg: dict | None = dict(type='RFE'),  # noqa: B006
        norm_cfg: dict | None = None,
        anchor_generator: dict = dict(type='SRNAnchorGenerator'),  # noqa: B006
        bbox_coder: dict = dict(type='DeltaXYWHBBoxCoder', clip_border=False),  # noqa: B006
        reg_decoded_bbox: bool = False,
        loss_cls: dict = dict(type='TwoStageFocalLoss'),  # noqa: B006
        loss_bbox: dict = dict(type='SmoothL1Loss', beta=1 / 9),  # noqa: B006
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        self.stc_levels = self._placement('stc_levels', stc_levels)
        self.str_levels = self._placement('str_levels', str_levels)
        self.stacked_convs = stacked_convs
        self.theta = theta
        self.share_cls_predictor = share_cls_predictor
        self.share_reg_predictor = share_reg_predictor
        self.rfe_cfg = rfe_cfg
        self.norm_cfg = norm_cfg
        loss_type = loss_cls['type']
        if isinstance(loss_type, str):
            loss_type = MODELS.get(loss_type)
        if loss_type is None or not issubclass(loss_type, TwoStageFocalLoss):
            raise ValueError(
                "SRNHead needs loss_cls=dict(type='TwoStageFocalLoss'), which takes "
                f"FocalLoss' arguments, got {loss_cls['type']}"
            )
        if test_cfg and ('small_map_cells' in test_cfg) != (
            'small_map_score_thr' in test_cfg
        ):
            raise ValueError(
                'test_cfg.small_map_cells and small_map_score_thr go together'
            )
        second_step = test_cfg.get('second_step', 'auto') if test_cfg else 'auto'
        if second_step not in ('auto', 'dense', 'sparse'):
            raise ValueError(
                f"test_cfg.second_step='{second_step}' must be 'auto', 'dense' or "
                "'sparse'"
            )
        if loss_cls.get('theta', theta) != theta:
            raise ValueError(
                f'SRNHead(theta={theta}) with loss_cls theta={loss_cls["theta"]}: '
                'training and test need one threshold; set it on the head'
            )
        if init_cfg is None:
            normal = dict(type='Normal', std=0.01)
            predictors = [
                dict(**normal, name='conv_cls', bias_prob=0.01),
                dict(**normal, name='conv_reg'),
            ]
            if self.stc_levels and not share_cls_predictor:
                predictors.append(dict(predictors[0], name='conv_cls_first'))
            if self.str_levels and not share_reg_predictor:
                predictors.append(dict(predictors[1], name='conv_reg_first'))
            init_cfg = dict(
                type='Xavier',
                distribution='uniform',
                layer='Conv2d',
                override=predictors,
            )
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            anchor_generator=anchor_generator,
            bbox_coder=bbox_coder,
            reg_decoded_bbox=reg_decoded_bbox,
            # AnchorHead reads use_sigmoid from the config
            loss_cls={'use_sigmoid': True, **loss_cls, 'theta': theta},
            loss_bbox=loss_bbox,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        if train_cfg:
            self.first_assigner = TASK_UTILS.build(
                train_cfg.get('first_assigner', PAPER_FIRST_ASSIGNER)
            )
            self._check_matching()
            self.avg_factors = AvgFactors(3, train_cfg.get('avg_factor_momentum'))

    # ------------------------------------------------------------------ checks

    @staticmethod
    def _placement(name: str, levels: Iterable[int]) -> tuple[int, ...]:
        """Sort the levels of an argument."""
        if not isinstance(levels, Iterable) or not all(
            isinstance(level, int) for level in levels
        ):
            raise ValueError(
                f'{name}={levels!r} must be a tuple of levels, 0 the finest, such as '
                '(0, 1), or () for none'
            )
        return tuple(sorted(levels))

    def _check_levels(self) -> None:
        num_levels = self.prior_generator.num_levels
        for name in ('stc_levels', 'str_levels'):
            levels = getattr(self, name)
            outside = [level for level in levels if level not in range(num_levels)]
            if outside or len(set(levels)) != len(levels):
                raise ValueError(
                    f'{name}={levels} must be distinct levels from 0 to '
                    f'{num_levels - 1}, or () for none: the anchor generator has '
                    f'{num_levels} strides'
                )
        if len(set(self.prior_generator.num_base_priors)) > 1:
            raise ValueError(
                'SRNHead shares its predictors between the levels and so needs as '
                'many anchors per cell on each, got '
                f'{self.prior_generator.num_base_priors}; give each level of the '
                'anchor generator as many ratios and scales'
            )

    def _check_channels(self) -> None:
        if not isinstance(self.in_channels, int):
            raise ValueError(
                'SRNHead shares its subnets between the levels and so needs one '
                f'number of channels, got in_channels={self.in_channels}; end the '
                "neck with dict(type='ChannelMapper', in_channels=..., "
                'out_channels=..., num_outs=...)'
            )
        if self.rfe_cfg is None:
            return
        if self.stacked_convs < 3:
            raise ValueError(
                f'stacked_convs={self.stacked_convs}: the block of rfe_cfg takes the '
                'place of the middle two of at least 3 convolutions; rfe_cfg=None '
                'leaves it out'
            )
        if self.rfe_cfg.get('in_channels', self.feat_channels) != self.feat_channels:
            raise ValueError(
                f'rfe_cfg.in_channels={self.rfe_cfg["in_channels"]} must be '
                f'feat_channels={self.feat_channels}, which it is where left out'
            )

    def _check_matching(self) -> None:
        for name in ('first_assigner', 'assigner'):
            assigner = getattr(self, name)
            # Others want predictions or levels; the second step's priors have moved.
            if not isinstance(assigner, MaxIoUAssigner):
                raise ValueError(
                    f'train_cfg.{name}={type(assigner).__name__}: each step is matched '
                    'by the IoU of its priors alone; take GridMaxIoUAssigner, '
                    'MaxIoUAssigner or a class derived from it'
                )
        if not isinstance(self.sampler, PseudoSampler):
            raise ValueError(
                f'train_cfg.sampler={type(self.sampler).__name__}: SRNHead samples '
                'nothing, its loss is a focal one; leave the sampler out'
            )

    def _check_sizes(
        self, sizes: Sequence[tuple[int, int]], batch_img_metas: list[dict]
    ) -> None:
        """See that the maps have the strides of their anchors.

        Two cells are left to backbones that round or do not pad. Where the input's
        size is not in the meta information nothing can be said.
        """
        shape = batch_img_metas[0].get('batch_input_shape')
        if shape is None:
            return
        for level, (size, (stride_w, stride_h)) in enumerate(
            zip(sizes, self.prior_generator.strides, strict=True)
        ):
            expected = shape[0] / stride_h, shape[1] / stride_w
            if any(abs(a - b) > 2 for a, b in zip(size, expected, strict=True)):
                raise ValueError(
                    f'level {level}: a map of {tuple(size)} cells of an input of '
                    f'{tuple(shape)} pixels (h, w) has not the stride '
                    f'{stride_h} of its anchors; set '
                    "bbox_head.anchor_generator.strides to those of the neck's maps"
                )

    # ------------------------------------------------------------------ layers

    def _init_layers(self) -> None:
        self._check_levels()
        self._check_channels()
        self.cls_subnet = self._build_subnet()
        self.reg_subnet = self._build_subnet()
        channels = self.feat_channels if self.stacked_convs else self.in_channels
        num_scores = self.num_base_priors * self.cls_out_channels
        num_deltas = self.num_base_priors * self.bbox_coder.encode_size
        self.conv_cls = nn.Conv2d(channels, num_scores, 1)
        if self.stc_levels and not self.share_cls_predictor:
            self.conv_cls_first = nn.Conv2d(channels, num_scores, 1)
        self.conv_reg = nn.Conv2d(channels, num_deltas, 1)
        if self.str_levels and not self.share_reg_predictor:
            self.conv_reg_first = nn.Conv2d(channels, num_deltas, 1)

    def _build_subnet(self) -> nn.Sequential:
        """Build the layers before a predictor, shared by levels and steps."""

        def conv(channels: int) -> ConvModule:
            return ConvModule(
                channels, self.feat_channels, 3, padding=1, norm_cfg=self.norm_cfg
            )

        channels = [self.in_channels, *[self.feat_channels] * (self.stacked_convs - 1)]
        channels = channels[: self.stacked_convs]
        if self.rfe_cfg is None:
            return nn.Sequential(*map(conv, channels))
        before = (self.stacked_convs - 1) // 2
        rfe_cfg = dict(in_channels=self.feat_channels, norm_cfg=self.norm_cfg)
        return nn.Sequential(
            *map(conv, channels[:before]),
            MODELS.build({**rfe_cfg, **self.rfe_cfg}),
            *map(conv, channels[before + 2 :]),
        )

    # ----------------------------------------------------------------- forward

    def forward(self, x: Sequence[Tensor | DeferredMap]) -> tuple[list[Tensor], ...]:
        """Compute what each step predicts, where a step predicts.

        Args:
            x (Sequence[Tensor | DeferredMap]): L maps for both steps, or the L
                maps of the first step and then the L of the second; each
                (N, C, H, W).

        Returns:
            tuple[list[Tensor], ...]: With A anchors per cell,

            - first_cls_scores: one map per level of ``stc_levels``, finest
              first, (N, A * num_classes, H, W).
            - first_bbox_preds: one per level of ``str_levels``,
              (N, A * 4, H, W).
            - cls_scores: one per level, (N, A * num_classes, H, W).
            - bbox_preds: one per level, (N, A * 4, H, W).
        """
        first_maps, second_maps = self._split_steps(x)
        first_cls_scores, first_bbox_preds, cls_scores, bbox_preds = [], [], [], []
        for level, (first, second) in enumerate(
            zip(first_maps, second_maps, strict=True)
        ):
            one_map = first is second
            second = to_dense(second)
            first = second if one_map else to_dense(first)
            cls_feat = self.cls_subnet(second)
            reg_feat = self.reg_subnet(second)
            cls_scores.append(self.conv_cls(cls_feat))
            bbox_preds.append(self.conv_reg(reg_feat))
            # On shared maps both steps have the same features.
            if level in self.stc_levels:
                if not one_map:
                    cls_feat = self.cls_subnet(first)
                first_cls_scores.append(self._first_cls_predictor(cls_feat))
            if level in self.str_levels:
                if not one_map:
                    reg_feat = self.reg_subnet(first)
                first_bbox_preds.append(self._first_reg_predictor(reg_feat))
        return first_cls_scores, first_bbox_preds, cls_scores, bbox_preds

    @property
    def _first_cls_predictor(self) -> nn.Conv2d:
        return self.conv_cls if self.share_cls_predictor else self.conv_cls_first

    @property
    def _first_reg_predictor(self) -> nn.Conv2d:
        return self.conv_reg if self.share_reg_predictor else self.conv_reg_first

    def _split_steps(self, x: Sequence) -> tuple[Sequence, Sequence]:
        num_levels = self.prior_generator.num_levels
        for number, feature_map in enumerate(x):
            if feature_map.shape[1] != self.in_channels:
                raise ValueError(
                    f'map {number} of the neck has {feature_map.shape[1]} channels, '
                    f'but SRNHead was built for in_channels={self.in_channels}; set '
                    "bbox_head.in_channels to the neck's out_channels"
                )
        if len(x) == num_levels:
            self._check_one_map()
            return x, x
        if len(x) != 2 * num_levels:
            raise ValueError(
                f'SRNHead has {num_levels} strides and so takes {num_levels} maps, for '
                f'both steps, or {2 * num_levels}, first those of the first step; the '
                f'neck gave {len(x)}. Change the strides of the anchor generator or '
                'num_outs of the neck'
            )
        first, second = x[:num_levels], x[num_levels:]
        if self.training:  # no harm to trained weights, which have been read that way
            self._check_first_maps(first, second)
        return first, second

    def _check_first_maps(self, first: Sequence, second: Sequence) -> None:
        """See that the neck made the maps that the first step reads, and no others."""
        used = {*self.stc_levels, *self.str_levels}
        made = {
            level for level in range(len(first)) if first[level] is not second[level]
        }
        placements = f'stc_levels={self.stc_levels} and str_levels={self.str_levels}'
        if used - made:
            raise ValueError(
                f'the neck made no map of level {min(used - made)} for the first step, '
                f'which has {placements}; add it to neck.first_levels'
            )
        if made - used:
            warnings.warn(
                f'the neck makes maps of levels {sorted(made - used)} for the first '
                f'step, which has {placements} and does not read them: work for '
                'nothing, and parameters without gradient, at which distributed '
                f'training stops; set neck.first_levels={tuple(sorted(used))}',
                stacklevel=2,
            )

    def _check_one_map(self) -> None:
        """See that steps which read one map can say different things of it."""
        if not self.training:  # no harm to trained weights, they have learned so
            return
        for levels, name, shared in (
            (self.stc_levels, 'cls', self.share_cls_predictor),
            (self.str_levels, 'reg', self.share_reg_predictor),
        ):
            if levels and shared:
                raise ValueError(
                    f'both steps of levels {levels} read one map by one predictor and '
                    'so would predict the same: with a neck that gives one map a level '
                    f'set bbox_head.share_{name}_predictor=False'
                )

    # -------------------------------------------------------------------- loss

    def loss_by_feat(
        self,
        first_cls_scores: list[Tensor],
        first_bbox_preds: list[Tensor],
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of both steps from what ``forward`` returns.

        Both steps are matched on all levels, the first on the anchors, the
        second with the refined boxes of the STR levels in their place. So a face's
        best anchor in the first step does not depend on the placement. Each loss is
        divided by the positives of its step (see ``train_cfg``; paper: N_s1 and N_s2
        for classification, nothing printed for regression).

        Args:
            first_cls_scores (list[Tensor]): See ``forward``.
            first_bbox_preds (list[Tensor]): See ``forward``.
            cls_scores (list[Tensor]): See ``forward``.
            bbox_preds (list[Tensor]): See ``forward``.
            batch_gt_instances (list[InstanceData]): ``bboxes`` (K, 4) xyxy in
                pixels and ``labels`` (K, ) of each image.
            batch_img_metas (list[dict]): Meta information of each image.
            batch_gt_instances_ignore (list[InstanceData], optional): Boxes to
                ignore. Defaults to None.

        Returns:
            dict[str, Tensor]: ``loss_cls_second`` and ``loss_bbox_second``;
            ``loss_cls_first`` where there are STC levels and ``loss_bbox_first``
            where there are STR levels. For the log, of this process's batch:
            ``num_pos_first`` and ``num_pos_second``, the positives of each
            step, and ``stc_survivors``, the share of the STC levels' anchors
            that the first step leaves.
        """
        logits = self._flatten(cls_scores, self.cls_out_channels)  # (N, P, C)
        deltas = self._flatten(bbox_preds, self.bbox_coder.encode_size)  # (N, P, 4)
        first_logits = self._flatten(first_cls_scores, self.cls_out_channels, logits)
        first_deltas = self._flatten(
            first_bbox_preds, self.bbox_coder.encode_size, deltas
        )
        self._check_sizes([scores.shape[-2:] for scores in cls_scores], batch_img_metas)
        anchors, valid, sizes = self._training_grid(cls_scores, batch_img_metas)
        priors = self._replace(
            anchors,
            sizes,
            self.str_levels,
            self._refine(self._on(anchors, sizes, self.str_levels), first_deltas),
        )

        ground_truth = (batch_gt_instances, batch_gt_instances_ignore)
        second = self._get_step_targets(self.assigner, priors, valid, *ground_truth)
        first = second  # not read where no level has two steps
        if self.stc_levels or self.str_levels:
            first = self._get_step_targets(
                self.first_assigner, anchors, valid, *ground_truth
            )
        first_on_stc = [self._on(part, sizes, self.stc_levels) for part in first]
        first_on_str = [self._on(part, sizes, self.str_levels) for part in first]

        # Phi, what the first step leaves
        labels_on_stc = self._on(second.labels, sizes, self.stc_levels)
        keep = self._replace(
            torch.ones_like(second.labels, dtype=torch.bool),
            sizes,
            self.stc_levels,
            self.loss_cls.survivors(first_logits, labels_on_stc),
        )
        second_positive = (second.labels < self.num_classes) & keep
        num_pos_first, *own, num_pos_second = torch.stack(
            [
                (part < self.num_classes).sum().float()
                for part in (first.labels, first_on_stc[0], first_on_str[0])
            ]
            + [second_positive.sum().float()]
        )
        if self.train_cfg.get('first_avg_levels', 'all') == 'all':
            own = [num_pos_first, num_pos_first]
        first_cls_avg, first_bbox_avg, second_avg = self.avg_factors(
            torch.stack([*own, num_pos_second])
        )

        loss_cls_first, loss_cls_second = self.loss_cls(
            first_logits.flatten(0, 1),
            logits.flatten(0, 1),
            first_on_stc[0].flatten(),
            second.labels.flatten(),
            first_on_stc[1].flatten(),
            second.label_weights.flatten(),
            keep=keep.flatten(),
            first_avg_factor=first_cls_avg,
            second_avg_factor=second_avg,
        )
        losses = dict(
            loss_cls_second=loss_cls_second,
            loss_bbox_second=self._bbox_loss(
                second_positive, priors, deltas, second.bbox_targets, second_avg
            ),
            num_pos_second=num_pos_second,
        )
        if self.stc_levels:
            losses['loss_cls_first'] = loss_cls_first
            losses['stc_survivors'] = self._share_left(keep, valid, sizes)
        if self.str_levels:
            losses['loss_bbox_first'] = self._bbox_loss(
                first_on_str[0] < self.num_classes,
                self._on(anchors, sizes, self.str_levels),
                first_deltas,
                first_on_str[2],
                first_bbox_avg,
            )
        if self.stc_levels or self.str_levels:
            losses['num_pos_first'] = num_pos_first
        return losses

    def _share_left(
        self, keep: Tensor, valid: Tensor | None, sizes: list[int]
    ) -> Tensor:
        """Share of the STC levels' anchors that the first step leaves."""
        keep = self._on(keep, sizes, self.stc_levels)
        if valid is None:
            return keep.float().mean()
        valid = self._on(valid, sizes, self.stc_levels)
        return (keep & valid).sum() / valid.sum().clamp(min=1)

    def _training_grid(
        self, cls_scores: list[Tensor], batch_img_metas: list[dict]
    ) -> tuple[Tensor, Tensor | None, list[int]]:
        """Anchors (N, P, 4), which may be matched (N, P), number of them per level.

        None for the second, if all may.
        """
        map_sizes = [scores.shape[-2:] for scores in cls_scores]
        device = cls_scores[0].device
        mlvl_anchors = self.prior_generator.grid_priors(map_sizes, device=device)
        sizes = [len(anchors) for anchors in mlvl_anchors]
        anchors = torch.cat(mlvl_anchors)
        border = self.train_cfg.get('allowed_border', -1)
        # Then every cell is part of every image.
        whole = all(
            tuple(meta['pad_shape'][:2]) == tuple(meta.get('batch_input_shape', ()))
            for meta in batch_img_metas
        )
        valid = None
        if not whole or border >= 0:
            valid = torch.stack(
                [
                    anchor_inside_flags(
                        anchors,
                        torch.cat(
                            self.prior_generator.valid_flags(
                                map_sizes, meta['pad_shape'], device
                            )
                        ),
                        meta['img_shape'][:2],
                        border,
                    )
                    for meta in batch_img_metas
                ]
            )
        return anchors.expand(len(batch_img_metas), -1, -1), valid, sizes

    @staticmethod
    def _on(values: Tensor, sizes: list[int], levels: Sequence[int]) -> Tensor:
        """Take the anchors of some levels from (N, P, ...)."""
        parts = values.split(sizes, dim=1)
        return torch.cat([values[:, :0], *(parts[level] for level in levels)], dim=1)

    @staticmethod
    def _replace(
        values: Tensor, sizes: list[int], levels: Sequence[int], new: Tensor
    ) -> Tensor:
        """Put (N, P', ...) in the place of some levels' anchors of (N, P, ...)."""
        parts = list(values.split(sizes, dim=1))
        own = new.to(values.dtype).split([sizes[level] for level in levels], dim=1)
        for level, part in zip(levels, own, strict=True):
            parts[level] = part
        return torch.cat(parts, dim=1)

    def _flatten(
        self, maps: list[Tensor], channels: int, like: Tensor | None = None
    ) -> Tensor:
        """Lay the maps out as (N, anchors of these levels, channels), in fp32.

        ``like`` gives N, type and device where there is no map. Mixed precision
        ends here: float64, for checking, stays.
        """
        if not maps:
            return like.new_zeros(len(like), 0, channels)
        rows = torch.cat(
            [m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps], dim=1
        )
        return self._full(rows)

    def _refine(self, anchors: Tensor, first_deltas: Tensor) -> Tensor:
        """Boxes (..., 4) that the first regression makes of the anchors.

        Not clipped, and detached: the second step's losses do not train the
        first.
        """
        boxes = self.bbox_coder.decode(
            anchors.reshape(-1, 4), first_deltas.detach().reshape(-1, 4)
        )
        return boxes.view(anchors.shape)

    def _get_step_targets(
        self,
        assigner: BaseAssigner,
        priors: Tensor,
        valid: Tensor | None,
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList,
    ) -> StepTargets:
        """Match one step of every image on its own priors.

        Args:
            assigner (BaseAssigner): The step's matching.
            priors (Tensor): Shape (N, P, 4), xyxy in pixels.
            valid (Tensor, optional): Boolean (N, P), priors that take part; None for
                all.
            batch_gt_instances (list[InstanceData]): See ``loss_by_feat``.
            batch_gt_instances_ignore (list[InstanceData], optional): The same.

        Returns:
            StepTargets: Of all images.
        """
        ignored = batch_gt_instances_ignore or [None] * len(priors)
        assigned = priors.new_full(priors.shape[:2], -1, dtype=torch.long)  # (N, P)
        for i, gt_instances in enumerate(batch_gt_instances):
            rows = slice(None) if valid is None else valid[i].nonzero().squeeze(1)
            assigned[i, rows] = self._assign(
                assigner, priors[i, rows], gt_instances, ignored[i]
            )
        # Faces of all images in one list, and where each image's begin
        gts = InstanceData.cat(batch_gt_instances)
        counts = torch.tensor([0, *map(len, batch_gt_instances[:-1])])
        offsets = counts.cumsum(0).to(priors.device)
        positive = (assigned > 0).flatten().nonzero().squeeze(1)  # (K, )
        matched = assigned.flatten()[positive] - 1 + offsets[positive // len(priors[0])]
        labels = torch.full_like(assigned, self.num_classes)
        labels.view(-1)[positive] = gts.labels[matched]
        label_weights = (assigned >= 0).to(priors.dtype)
        if self.train_cfg.get('pos_weight', -1) > 0:
            label_weights.view(-1)[positive] = self.train_cfg['pos_weight']
        targets = gts.bboxes[matched]
        if not self.reg_decoded_bbox:
            targets = self.bbox_coder.encode(priors.flatten(0, 1)[positive], targets)
        bbox_targets = torch.zeros_like(priors, memory_format=torch.contiguous_format)
        bbox_targets.view(-1, 4)[positive] = targets.to(bbox_targets)
        return StepTargets(labels, label_weights, bbox_targets)

    @staticmethod
    def _assign(
        assigner: BaseAssigner,
        priors: Tensor,
        gt_instances: InstanceData,
        ignored: InstanceData | None,
    ) -> Tensor:
        """Match priors (P, 4); (P, ): -1 ignored, 0 background, i + 1 face i."""
        pred_instances = InstanceData(priors=priors)
        if len(gt_instances) or ignored is None:
            return assigner.assign(pred_instances, gt_instances, ignored).gt_inds
        # MaxIoUAssigner looks at ignored boxes only where there are others.
        assigned = assigner.assign(pred_instances, gt_instances).gt_inds
        assigned[find_ignored(assigner, priors, ignored.bboxes)] = -1
        return assigned

    def _bbox_loss(
        self,
        positive: Tensor,
        priors: Tensor,
        deltas: Tensor,
        targets: Tensor,
        avg_factor: Tensor,
    ) -> Tensor:
        """Regression loss of the positives (N, P') of one step; others (N, P', 4)."""
        rows = positive.flatten().nonzero().squeeze(1)  # (K, )
        deltas = deltas.flatten(0, 1)[rows]
        if not len(rows):
            # Losses by IoU would leave the graph here; distributed training needs it.
            return deltas.sum()
        if self.reg_decoded_bbox:
            deltas = self.bbox_coder.decode(priors.flatten(0, 1)[rows], deltas)
        return self.loss_bbox(
            deltas, targets.flatten(0, 1)[rows], avg_factor=avg_factor
        )

    # ----------------------------------------------------------------- predict

    def predict(
        self,
        x: Sequence[Tensor | DeferredMap],
        batch_data_samples: SampleList,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect; of the second step, compute what can become a detection.

        The first classification is computed all over the STC levels, then the
        second where it left something, and boxes where a score can reach NMS.

        Args:
            x (Sequence[Tensor | DeferredMap]): See ``forward``.
            batch_data_samples (list[DetDataSample]): The images.
            rescale (bool): Whether boxes are in the pixels of the original
                image instead of the input's. Defaults to False.

        Returns:
            list[InstanceData]: See ``predict_by_feat``.
        """
        second_step = self.test_cfg.get('second_step', 'auto')
        device = next(self.parameters()).device.type
        if second_step == 'auto' and device not in SPARSE_COST:
            second_step = 'dense'
        if second_step == 'dense' or self.training:
            return super().predict(x, batch_data_samples, rescale=rescale)
        always = second_step == 'sparse'
        classify = SparseModule(self.cls_subnet, self.conv_cls, always=always)
        regress = SparseModule(self.reg_subnet, self.conv_reg, always=always)
        regress_first = regress
        if self.str_levels and not self.share_reg_predictor:
            regress_first = SparseModule(
                self.reg_subnet, self.conv_reg_first, always=always
            )
        levels = [
            self._read_when_needed(
                level, first, second, classify, regress, regress_first
            )
            for level, (first, second) in enumerate(
                zip(*self._split_steps(x), strict=True)
            )
        ]
        metas = [sample.metainfo for sample in batch_data_samples]
        return self._detect(levels, metas, self.test_cfg, rescale)

    def _read_when_needed(
        self,
        level: int,
        first: Tensor | DeferredMap,
        second: Tensor | DeferredMap,
        classify: SparseModule,
        regress: SparseModule,
        regress_first: SparseModule,
    ) -> LevelOutputs:
        """Outputs of a level, of which most is computed when it is read."""
        one_map = first is second
        first = to_dense(first)
        if one_map:
            second = first
        elif level not in self.stc_levels:
            second = to_dense(second)
        maps = PartialMaps(second)
        deltas = first_deltas = partial_readers(maps, regress)
        if level not in self.str_levels:
            first_deltas = None
        elif not one_map or regress_first is not regress:
            first_maps = maps if one_map else PartialMaps(first)
            first_deltas = partial_readers(first_maps, regress_first)
        first_scores = None
        if level not in self.stc_levels:
            logits = map_readers(classify.dense(second))
        else:
            features = self.cls_subnet(first)
            first_scores = self._first_cls_predictor(features)
            logits = (
                map_readers(self.conv_cls(features))
                if one_map
                else partial_readers(maps, classify)
            )
        keep = self._survivors(first, first_scores)
        return LevelOutputs(first.shape[-2:], keep, logits, deltas, first_deltas)

    def predict_by_feat(
        self,
        first_cls_scores: list[Tensor],
        first_bbox_preds: list[Tensor],
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """Turn what ``forward`` returns into boxes.

        The score is the second step's alone; the first decides who is a
        candidate and, on STR levels, from which box the second starts.

        Args:
            first_cls_scores (list[Tensor]): See ``forward``.
            first_bbox_preds (list[Tensor]): See ``forward``.
            cls_scores (list[Tensor]): See ``forward``.
            bbox_preds (list[Tensor]): See ``forward``.
            batch_img_metas (list[dict]): Meta information of each image.
            cfg (ConfigDict, optional): Defaults to None, ``test_cfg``.
            rescale (bool): Whether boxes are in the pixels of the original
                image instead of the input's. Defaults to False.
            with_nms (bool): Defaults to True.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4) xyxy in pixels, ``scores``
            (K, ) and ``labels`` (K, ) of each image, best first.
        """
        cfg = self.test_cfg if cfg is None else cfg
        first_logits = dict(zip(self.stc_levels, first_cls_scores, strict=True))
        first_deltas = dict(zip(self.str_levels, first_bbox_preds, strict=True))
        levels = []
        for level, (scores, deltas) in enumerate(
            zip(cls_scores, bbox_preds, strict=True)
        ):
            readers = [map_readers(scores), map_readers(deltas)]
            readers.append(
                map_readers(first_deltas[level]) if level in first_deltas else None
            )
            keep = self._survivors(scores, first_logits.get(level))
            levels.append(LevelOutputs(scores.shape[-2:], keep, *readers))
        return self._detect(levels, batch_img_metas, cfg, rescale, with_nms)

    def _survivors(self, like: Tensor, first_scores: Tensor | None) -> Tensor:
        """Which anchors (N, H * W, A) the first step leaves; all where it has none.

        ``like`` is any map (N, channels, H, W) of the level.
        """
        shape = (len(like), like[0, 0].numel(), self.num_base_priors)
        if first_scores is None:
            return like.new_ones(shape, dtype=torch.bool)
        logits = self._flatten([first_scores], self.cls_out_channels)
        return survives(logits, self.theta).view(shape)

    def _detect(
        self,
        levels: list[LevelOutputs],
        batch_img_metas: list[dict],
        cfg: ConfigDict,
        rescale: bool,
        with_nms: bool = True,
    ) -> InstanceList:
        """Select candidates, find their boxes, and leave the best to NMS."""
        self._check_sizes([level.size for level in levels], batch_img_metas)
        mlvl_anchors = self.prior_generator.grid_priors(
            [level.size for level in levels], device=levels[0].keep.device
        )
        results = []
        for image, meta in enumerate(batch_img_metas):
            found = self._candidates(levels, image, cfg)
            boxes = self._boxes(levels, image, found, mlvl_anchors)
            results.append(
                self._bbox_post_process(
                    InstanceData(
                        bboxes=boxes, scores=found.scores, labels=found.labels
                    ),
                    cfg,
                    rescale=rescale,
                    with_nms=with_nms,
                    img_meta=meta,
                )
            )
        return results

    def _candidates(
        self, levels: list[LevelOutputs], image: int, cfg: ConfigDict
    ) -> InstanceData:
        """What may go to NMS, of all levels: ``scores``, ``labels``, where it is.

        ``levels`` (n, ) and ``priors`` (n, ), the anchor's number in its level,
        say where.
        """
        found = []
        for number, level in enumerate(levels):
            keep = level.keep[image]
            cells = keep.any(dim=1).nonzero().squeeze(1)
            left = keep[cells]
            logits = self._full(level.logits[image](cells))
            logits = logits.reshape(*left.shape, self.cls_out_channels)[left]
            score_thr = cfg.get('score_thr', 0)
            if level.size[0] * level.size[1] < cfg.get('small_map_cells', 0):
                score_thr = cfg['small_map_score_thr']
            scores = logits.sigmoid()
            rows, labels = (scores > score_thr).nonzero(as_tuple=True)
            scores = scores[rows, labels]
            # No level alone needs more than all of them together.
            limits = [cfg.get(name, -1) for name in ('nms_pre', 'max_before_nms')]
            limit = min([each for each in limits if each > 0], default=len(scores))
            if limit < len(scores):
                scores, best = scores.topk(limit)
                rows, labels = rows[best], labels[best]
            priors = keep.flatten().nonzero().squeeze(1)[rows]
            found.append(
                InstanceData(
                    scores=scores,
                    labels=labels,
                    priors=priors,
                    levels=torch.full_like(priors, number),
                )
            )
        return self._best(InstanceData.cat(found), cfg.get('max_before_nms', -1))

    def _boxes(
        self,
        levels: list[LevelOutputs],
        image: int,
        found: InstanceData,
        mlvl_anchors: list[Tensor],
    ) -> Tensor:
        """Boxes (n, 4) of candidates, xyxy in pixels."""
        bboxes = found.scores.new_zeros(len(found), 4)
        for number, level in enumerate(levels):
            own = (found.levels == number).nonzero().squeeze(1)
            priors = found.priors[own]
            boxes = mlvl_anchors[number][priors]
            deltas = self._deltas(level.deltas[image], priors)
            if level.first_deltas is not None:
                same = level.first_deltas is level.deltas
                boxes = self._refine(
                    boxes,
                    deltas if same else self._deltas(level.first_deltas[image], priors),
                )
            bboxes[own] = self.bbox_coder.decode(boxes, deltas)
        return bboxes

    def _deltas(self, reader: Reader, priors: Tensor) -> Tensor:
        """Deltas (n, 4) of anchors, by their number in the level."""
        num_anchors = self.num_base_priors
        deltas = self._full(reader(priors // num_anchors))
        deltas = deltas.reshape(len(priors), num_anchors, self.bbox_coder.encode_size)
        return deltas[
            torch.arange(len(priors), device=priors.device), priors % num_anchors
        ]

    @staticmethod
    def _full(values: Tensor) -> Tensor:
        """End mixed precision; float64, for checking, stays."""
        return values if values.dtype == torch.float64 else values.float()

    @staticmethod
    def _best(results: InstanceData, number: int) -> InstanceData:
        """Keep the ``number`` best scores over all levels; all if negative."""
        if number <= 0 or len(results) <= number:
            return results
        return results[results.scores.topk(number).indices]
