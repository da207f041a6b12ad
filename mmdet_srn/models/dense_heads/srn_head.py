"""SRN's head: selective two-step classification and regression."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads import AnchorHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.profiler import record_function

from ..losses.avg_factors import AvgFactors
from ..losses.two_stage_focal_loss import survives
from ..spans import FIRST_STEP, NMS, SECOND_STEP, SELECTION
from ..sparse.deferred_map import DeferredMap, to_dense
from ..sparse.level_outputs import LevelOutputs, map_readers, read_when_needed
from ..sparse.partial_map import SPARSE_COST
from ..task_modules.assigners import OnlineAssigner
from . import checks, matching
from .anchor_grid import AnchorGrid, flatten_maps
from .matching import PAPER_FIRST_ASSIGNER, StepTargets
from .selection import Selection, select_candidates
from .voting import vote_boxes

SecondStep = Callable[[Tensor, Tensor | DeferredMap, int], tuple[Tensor, Tensor]]
"""See ``SRNHead.forward``."""


@MODELS.register_module()
class SRNHead(AnchorHead):
    """Head of the Selective Refinement Network (https://arxiv.org/abs/1809.02693).

    On ``stc_levels`` a first classification drops the anchors that are surely
    background, and the second classifies the rest (STC). On ``str_levels`` a first
    regression moves the anchors, and the second starts from the moved boxes (STR). A
    first-step branch that no level uses is neither built nor computed. With both
    placements empty this is a one-step anchor head.

    The input is either L maps, which both steps read, as any FPN gives them; or 2L
    maps, as ``SRNFPN`` gives them, the first step's before the second's. The steps
    share the subnets and the box predictor; each has its own class predictor. On L
    maps a shared predictor would predict the same in both steps, so there the box
    predictor must be one per step as well.

    ``train_cfg``, beside mmdet's ``allowed_border`` and ``pos_weight``:

    - ``assigner``: matching of the second step; an ``OnlineAssigner`` reads what it
      predicts.
    - ``first_assigner``: matching of the first; by default IoU 0.7 / 0.3 without
      low-quality matches.
    - ``first_avg_levels``: losses are divided by the positives of their step, at least
      1: of all levels ('all', the default), or in the first step of the STC or the STR
      levels ('own').
    - ``avg_factor_momentum``: averages these numbers over batches (see ``AvgFactors``;
      default: no).

    ``test_cfg``, beside mmdet's ``score_thr``, ``nms_pre`` (per level), ``nms`` and
    ``max_per_img``:

    - ``max_before_nms``: number of candidates of all levels together.
    - ``vote_iou_thr``: each box after NMS is the mean, weighted with the scores, of the
      candidates of its class that overlap it by this IoU or more (default: no).
    - ``small_map_cells``, ``small_map_score_thr``: another threshold on levels of fewer
      cells (released code; default: none).
    - ``second_step``: where ``predict`` computes the second step. 'dense': everywhere.
      'sparse': where the first step leaves anchors, and boxes where candidates are;
      exact up to rounding. 'auto', the default: the faster one for each level and
      image; 'dense' on a GPU, where that was not measured. A subnet with a norm that
      sees the whole map, such as ``GN``, or another unknown layer is computed on whole
      maps, and not at all where nothing of them is read.

    Args:
        num_classes: Number of classes without background.
        in_channels: Channels of the input maps, the same on all levels.
        feat_channels: Channels of the subnets.
        stacked_convs: 3x3 convolutions of each subnet, as in mmdet's ``RetinaHead``;
            the block of ``rfe_cfg`` replaces the middle two, and needs at least 3.
            With 0 the predictors read the maps. Default: released code.
        stc_levels: Levels, 0 the finest, classified in two steps. Default: P2 to P4
            (paper).
        str_levels: Levels regressed in two steps. Default: P5 to P7 (paper).
        theta: First-step negative confidence above which an anchor is dropped, in
            training and at test; of several classes the best one counts (paper).
        share_cls_predictor: Whether both steps use one last classification layer
            (released code) or each its own.
        share_reg_predictor: The same of the last box layer (default: released code).
        rfe_cfg: The block in the middle of each subnet; gets ``in_channels`` and
            ``norm_cfg``. None: RetinaNet's 3x3 convolutions alone (paper's baseline).
        norm_cfg: Normalisation inside the subnets; both steps and all levels share its
            statistics.
        anchor_generator: Must have as many anchors per cell on each level.
        bbox_coder: Default: plain deltas, boxes not clipped.
        reg_decoded_bbox: As in ``AnchorHead``.
        loss_cls: ``TwoStageFocalLoss``, which gets ``theta`` from here.
        loss_bbox: Loss of both regressions. Default: smooth L1 (paper) with beta 1/9
            (RetinaNet's code; the paper prints none).
        train_cfg: See above.
        test_cfg: See above.
        init_cfg: Default: Xavier for the subnets (paper) and N(0, 0.01) for the
            predictors (released code), with the prior 0.01 in the bias of the class
            predictors (paper). Xavier's predictors would refine boxes to noise.

    Raises:
        ValueError: If an argument does not fit the others or the maps that come in (see
            ``checks``).
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
        self.stc_levels = stc_levels
        self.str_levels = str_levels
        self.stacked_convs = stacked_convs
        self.theta = theta
        self.share_cls_predictor = share_cls_predictor
        self.share_reg_predictor = share_reg_predictor
        self.rfe_cfg = rfe_cfg
        self.norm_cfg = norm_cfg
        checks.check_loss(loss_cls, theta)
        checks.check_cfgs(train_cfg, test_cfg)
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
            init_cfg=self._default_init_cfg() if init_cfg is None else init_cfg,
        )
        if train_cfg:
            first_assigner = train_cfg.get('first_assigner', PAPER_FIRST_ASSIGNER)
            self.first_assigner = TASK_UTILS.build(first_assigner)
            checks.check_matching(self)
            self.avg_factors = AvgFactors(3, train_cfg.get('avg_factor_momentum'))

    # ------------------------------------------------------------------ layers

    def _default_init_cfg(self) -> dict:
        cls = dict(type='Normal', std=0.01, bias_prob=0.01)
        reg = dict(type='Normal', std=0.01)
        predictors = [dict(cls, name='conv_cls'), dict(reg, name='conv_reg')]
        if self.stc_levels and not self.share_cls_predictor:
            predictors.append(dict(cls, name='conv_cls_first'))
        if self.str_levels and not self.share_reg_predictor:
            predictors.append(dict(reg, name='conv_reg_first'))
        xavier = dict(type='Xavier', distribution='uniform', layer='Conv2d')
        return dict(xavier, override=predictors)

    def _init_layers(self) -> None:
        checks.check_layers(self)
        num_levels = self.prior_generator.num_levels
        self.stc_levels = checks.sort_levels('stc_levels', self.stc_levels, num_levels)
        self.str_levels = checks.sort_levels('str_levels', self.str_levels, num_levels)
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

    @property
    def first_cls_predictor(self) -> nn.Conv2d:
        """The first step's class predictor, where there are STC levels."""
        return self.conv_cls if self.share_cls_predictor else self.conv_cls_first

    @property
    def first_reg_predictor(self) -> nn.Conv2d:
        """The first step's box predictor, where there are STR levels."""
        return self.conv_reg if self.share_reg_predictor else self.conv_reg_first

    @property
    def second_reg_predictor(self) -> nn.Module:
        """The second step's box predictor, of ``box_outputs`` numbers an anchor."""
        return self.conv_reg

    @property
    def box_outputs(self) -> int:
        """Numbers that the second step predicts of an anchor's box, deltas first."""
        return self.bbox_coder.encode_size

    # ----------------------------------------------------------------- forward

    def forward(
        self,
        x: Sequence[Tensor | DeferredMap],
        second_step: SecondStep | None = None,
    ) -> tuple[list[Tensor], ...]:
        """Compute what each step predicts, where a step predicts.

        Args:
            x: L maps for both steps, or the L maps of the first step and then the L of
                the second; each (N, C, H, W).
            second_step: Computes the second step of STC levels with a map of its own,
                which an export needs at some cells alone: from the first scores, the
                map and the level's number to scores and boxes. Default: on whole maps.

        Returns:
            With A anchors per cell, finest level first,

            - first_cls_scores: of each of ``stc_levels``, (N, A * num_classes, H, W);
            - first_bbox_preds: of each of ``str_levels``, (N, A * 4, H, W);
            - cls_scores: of each level, (N, A * num_classes, H, W);
            - bbox_preds: of each level, (N, A * box_outputs, H, W).
        """
        first_cls_scores, first_bbox_preds, cls_scores, bbox_preds = [], [], [], []
        for level, (first, second) in enumerate(zip(*self.split_steps(x), strict=True)):
            one_map = first is second
            stc, refined = level in self.stc_levels, level in self.str_levels
            if stc or refined or one_map:
                first = to_dense(first)
            with record_function(FIRST_STEP):
                if stc:
                    cls_feat = self.cls_subnet(first)
                    first_cls_scores.append(self.first_cls_predictor(cls_feat))
                if refined:
                    reg_feat = self.reg_subnet(first)
                    first_bbox_preds.append(self.first_reg_predictor(reg_feat))
            if stc and second_step and not one_map:
                scores, boxes = second_step(first_cls_scores[-1], second, level)
            else:
                second = first if one_map else to_dense(second)
                with record_function(SECOND_STEP):
                    # On one map both steps have the same features.
                    if not (one_map and stc):
                        cls_feat = self.cls_subnet(second)
                    if not (one_map and refined):
                        reg_feat = self.reg_subnet(second)
                    scores = self.conv_cls(cls_feat)
                    boxes = self.second_reg_predictor(reg_feat)
            cls_scores.append(scores)
            bbox_preds.append(boxes)
        return first_cls_scores, first_bbox_preds, cls_scores, bbox_preds

    def split_steps(self, x: Sequence) -> tuple[Sequence, Sequence]:
        """Split the neck's maps into the first step's L and the second's."""
        checks.check_maps(self, x)
        num_levels = self.prior_generator.num_levels
        first, second = x[:num_levels], x[-num_levels:]
        if self.training:  # trained weights have learned from these very maps
            checks.check_steps(self, first, second, one_map=len(x) == num_levels)
        return first, second

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

        Both steps are matched on all levels, the first on the anchors, the second with
        the refined boxes in place of the STR levels' anchors. So a face's best anchor
        in the first step does not depend on the placement. Each loss is divided by the
        positives of its step (see ``train_cfg``; paper: N_s1 and N_s2 for
        classification, nothing printed for regression).

        Of each image ``batch_gt_instances`` hold ``bboxes`` (K, 4), xyxy in pixels, and
        ``labels`` (K, ), and ``batch_gt_instances_ignore`` ``bboxes`` to ignore.

        Returns:
            ``loss_cls_second`` and ``loss_bbox_second``; ``loss_cls_first`` where there
            are STC levels and ``loss_bbox_first`` where there are STR levels. For the
            log, of this process's batch: ``num_pos_first`` and ``num_pos_second``, the
            positives of each step, and ``stc_survivors``, the share of the STC levels'
            anchors that the first step leaves.
        """
        # P anchors on all levels, P' on those of the first step's branch
        num_scores, num_deltas = self.cls_out_channels, self.bbox_coder.encode_size
        logits = flatten_maps(cls_scores, num_scores)  # (N, P, C)
        outputs = flatten_maps(bbox_preds, self.box_outputs)  # (N, P, box_outputs)
        first_logits = flatten_maps(first_cls_scores, num_scores, logits)  # (N, P', C)
        first_deltas = flatten_maps(first_bbox_preds, num_deltas, outputs)  # (N, P', 4)
        grid = self.anchor_grid(cls_scores, batch_img_metas)
        priors = self.second_priors(grid, first_deltas)  # (N, P, 4)

        truth = (grid.valid, batch_gt_instances, batch_gt_instances_ignore)
        predictions = None
        if isinstance(self.assigner, OnlineAssigner):
            predictions = dict(
                bboxes=self.refine(priors, outputs[..., :4]),
                scores=logits.detach().sigmoid(),
                levels=grid.levels,
            )
        second = self.match_step(self.assigner, priors, *truth, predictions)
        first = second  # not read where no level has two steps
        if self.stc_levels or self.str_levels:
            first = self.match_step(self.first_assigner, grid.anchors, *truth)
            # or the first step would drop what the second is to find
            wrong = second.added & (first.labels == self.num_classes)
            first.label_weights[wrong] = 0
        first_on_stc = StepTargets(*(grid.on(each, self.stc_levels) for each in first))
        first_on_str = StepTargets(*(grid.on(each, self.str_levels) for each in first))

        # Phi, what the first step leaves: (N, P)
        labels_on_stc = grid.on(second.labels, self.stc_levels)
        left = self.loss_cls.survivors(first_logits, labels_on_stc)
        keep = torch.ones_like(second.labels, dtype=torch.bool)
        keep = grid.replace(keep, self.stc_levels, left)

        # N_s1 for classification and for regression, and N_s2
        second_positive = (second.labels < self.num_classes) & keep
        num_pos_second = second_positive.sum().float()
        num_pos_first, num_stc, num_str = (
            (part.labels < self.num_classes).sum().float()
            for part in (first, first_on_stc, first_on_str)
        )
        if self.train_cfg.get('first_avg_levels', 'all') == 'all':
            num_stc = num_str = num_pos_first
        first_cls_avg, first_bbox_avg, second_avg = self.avg_factors(
            torch.stack([num_stc, num_str, num_pos_second])
        )

        loss_cls_first, loss_cls_second = self.loss_cls(
            first_logits.flatten(0, 1),
            logits.flatten(0, 1),
            first_on_stc.labels.flatten(),
            second.labels.flatten(),
            first_on_stc.label_weights.flatten(),
            second.label_weights.flatten(),
            keep=keep.flatten(),
            first_avg_factor=first_cls_avg,
            second_avg_factor=second_avg,
        )
        losses = dict(
            loss_cls_second=loss_cls_second,
            num_pos_second=num_pos_second,
            **self.second_box_losses(
                second_positive, priors, outputs, second.bbox_targets, second_avg
            ),
        )
        if self.stc_levels:
            losses['loss_cls_first'] = loss_cls_first
            valid = torch.ones_like(keep) if grid.valid is None else grid.valid
            num_valid = grid.on(valid, self.stc_levels).sum()
            num_left = grid.on(valid & keep, self.stc_levels).sum()
            losses['stc_survivors'] = num_left / num_valid.clamp(min=1)
        if self.str_levels:
            losses['loss_bbox_first'] = self._bbox_loss(
                first_on_str.labels < self.num_classes,
                grid.on(grid.anchors, self.str_levels),
                first_deltas,
                first_on_str.bbox_targets,
                first_bbox_avg,
            )
        if self.stc_levels or self.str_levels:
            losses['num_pos_first'] = num_pos_first
        return losses

    def anchor_grid(
        self, cls_scores: list[Tensor], batch_img_metas: list[dict]
    ) -> AnchorGrid:
        """Lay anchors over the maps of a training batch."""
        sizes = [scores.shape[-2:] for scores in cls_scores]
        checks.check_map_sizes(sizes, self.prior_generator.strides, batch_img_metas)
        border = self.train_cfg.get('allowed_border', -1)
        device = cls_scores[0].device
        return AnchorGrid.of(
            self.prior_generator, sizes, batch_img_metas, device, border
        )

    def second_priors(self, grid: AnchorGrid, first_deltas: Tensor) -> Tensor:
        """Replace the STR levels' anchors by refined boxes: (N, P, 4).

        ``first_deltas`` are those of the STR levels, (N, P', 4).
        """
        refined = self.refine(grid.on(grid.anchors, self.str_levels), first_deltas)
        return grid.replace(grid.anchors, self.str_levels, refined)

    def refine(self, anchors: Tensor, first_deltas: Tensor) -> Tensor:
        """Move anchors (..., 4) by the first regression's deltas (..., 4).

        Not clipped, and detached: the second step's losses do not train the first.
        """
        boxes = self.bbox_coder.decode(
            anchors.reshape(-1, 4), first_deltas.detach().reshape(-1, 4)
        )
        return boxes.view(anchors.shape)

    match_step = matching.match_step

    def second_box_losses(
        self,
        positive: Tensor,
        priors: Tensor,
        outputs: Tensor,
        targets: Tensor,
        avg_factor: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the second step's losses of boxes.

        Of its positives, a mask (N, P), by its ``outputs`` (N, P, box_outputs);
        ``priors`` and ``targets`` are (N, P, 4).
        """
        loss = self._bbox_loss(positive, priors, outputs, targets, avg_factor)
        return dict(loss_bbox_second=loss)

    def _bbox_loss(
        self,
        positive: Tensor,
        priors: Tensor,
        deltas: Tensor,
        targets: Tensor,
        avg_factor: Tensor,
    ) -> Tensor:
        """Regression loss of the positives (N, P') of one step; others (N, P', 4)."""
        rows = positive.nonzero(as_tuple=True)
        deltas, targets = deltas[rows], targets[rows]  # (K, 4)
        if not len(deltas):
            # Losses by IoU would leave the graph here; distributed training needs it.
            return deltas.sum()
        if self.reg_decoded_bbox:
            deltas = self.bbox_coder.decode(priors[rows], deltas)
        return self.loss_bbox(deltas, targets, avg_factor=avg_factor)

    def get_targets(self, *args, **kwargs) -> NoReturn:
        """Raise an error: the inherited method knows one step."""
        raise NotImplementedError(
            "AnchorHead's methods for the targets and losses of one step do not hold "
            'for SRNHead; use match_step and loss_by_feat'
        )

    _get_targets_single = loss_by_feat_single = forward_single = get_targets

    # ----------------------------------------------------------------- predict

    def predict(
        self,
        x: Sequence[Tensor | DeferredMap],
        batch_data_samples: SampleList,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect; of the second step, compute what can become a detection.

        The first classification is computed all over the STC levels, then the second
        where it left something, and boxes where a score can reach NMS.

        Arguments and results are those of ``forward`` and ``predict_by_feat``.
        """
        second_step = self.test_cfg.get('second_step', 'auto')
        device = next(self.parameters()).device.type
        if second_step == 'auto' and device not in SPARSE_COST:
            second_step = 'dense'
        if second_step == 'dense' or self.training:
            return super().predict(x, batch_data_samples, rescale=rescale)
        levels = self.read_levels(x, always=second_step == 'sparse')
        metas = [sample.metainfo for sample in batch_data_samples]
        return self._detect(levels, metas, self.test_cfg, rescale)

    def read_levels(
        self, x: Sequence[Tensor | DeferredMap], always: bool
    ) -> list[LevelOutputs]:
        """Prepare what ``predict`` reads; see ``read_when_needed``."""
        return read_when_needed(self, *self.split_steps(x), always)

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

        The score is the second step's alone; the first decides which anchors are
        candidates and, on STR levels, from which box the second starts. ``cfg``
        replaces ``test_cfg``; with ``rescale`` boxes are in pixels of the original
        image instead of the input; without ``with_nms`` all candidates are returned.

        Returns:
            ``bboxes`` (K, 4) xyxy in pixels, ``scores`` (K, ) and ``labels`` (K, ) of
            each image, best first.
        """
        cfg = self.test_cfg if cfg is None else cfg
        first_logits = dict(zip(self.stc_levels, first_cls_scores, strict=True))
        first_deltas = dict(zip(self.str_levels, first_bbox_preds, strict=True))
        levels = [
            LevelOutputs(
                scores.shape[-2:],
                self.survivors(scores, first_logits.get(level)),
                map_readers(scores),
                map_readers(bbox_preds[level]),
                map_readers(first_deltas[level]) if level in first_deltas else None,
            )
            for level, scores in enumerate(cls_scores)
        ]
        return self._detect(levels, batch_img_metas, cfg, rescale, with_nms)

    def selection(self, test_cfg: ConfigDict) -> Selection:
        """Read which anchors become candidates."""
        return Selection.from_test_cfg(test_cfg)

    def survivors(self, like: Tensor, first_scores: Tensor | None) -> Tensor:
        """Find the anchors (N, H * W, A) of a level that the first step leaves.

        By its scores (N, A * num_classes, H, W); all where there are none. ``like`` is
        any map (N, channels, H, W) of the level.
        """
        shape = (len(like), like[0, 0].numel(), self.num_base_priors)
        if first_scores is None:
            return like.new_ones(shape, dtype=torch.bool)
        logits = flatten_maps([first_scores], self.cls_out_channels)
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
        sizes = [level.size for level in levels]
        checks.check_map_sizes(sizes, self.prior_generator.strides, batch_img_metas)
        anchors = self.prior_generator.grid_priors(sizes, device=levels[0].keep.device)
        selection = self.selection(cfg)
        results = []
        for image, meta in enumerate(batch_img_metas):
            with record_function(SELECTION):
                found = select_candidates(levels, image, selection)
                bboxes = found.scores.new_zeros(len(found), 4)
                for number, level in enumerate(levels):
                    rows = (found.levels == number).nonzero().squeeze(1)
                    priors = found.priors[rows]
                    deltas, first_deltas = level.read_deltas(image, priors)
                    boxes = anchors[number][priors]
                    if first_deltas is not None:
                        boxes = self.refine(boxes, first_deltas)
                    bboxes[rows] = self.bbox_coder.decode(boxes, deltas)
                scores, labels = found.scores, found.labels
                found = InstanceData(bboxes=bboxes, scores=scores, labels=labels)
            with record_function(NMS):
                found = self._bbox_post_process(
                    found, cfg, rescale, with_nms, img_meta=meta
                )
            results.append(found)
        return results

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """Leave the best to NMS; then, by ``vote_iou_thr``, let candidates vote."""
        # it rescales the boxes of results in place
        kept = super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        iou_thr = cfg.get('vote_iou_thr')
        if with_nms and iou_thr is not None:
            weights = results.scores * (kept.labels[:, None] == results.labels)
            kept.bboxes = vote_boxes(kept.bboxes, results.bboxes, weights, iou_thr)
        return kept
