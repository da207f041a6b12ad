"""SRN's head whose first step looks only where a coarser level says."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptInstanceList
from torch import Tensor
from torch.profiler import record_function

from ..losses.avg_factors import AvgFactors
from ..spans import FIRST_STEP
from ..sparse.deferred_map import DeferredMap, to_dense
from ..sparse.level_outputs import LevelOutputs, read_when_needed
from . import checks
from .query_branch import QueryBranch, finer_cells, query_targets
from .srn_head import SRNHead


@MODELS.register_module()
class QuerySRNHead(SRNHead):
    """``SRNHead`` with QueryDet's selection (https://arxiv.org/abs/2103.09136) as well.

    A small branch looks at the second step's map of a level and says where the next
    finer one can hold a face. There, and nowhere else, ``predict`` computes the finer
    level's first step, whose survivors go on to the second. What the branch leaves out
    is not found. Training stays dense, with one more loss, ``loss_query``.

    The branch is asked where ``predict`` computes the second step in part: not with
    ``second_step='dense'``, not on a GPU in 'auto', and not in an exported graph. These
    find what an ``SRNHead`` with the same weights finds.

    ``TrainOnlyHook`` trains the branch alone.

    ``test_cfg``, beside ``SRNHead``'s:

    - ``query_thr``: score above which a cell of the coarser level counts, 0.12 by
      default (QueryDet's).
    - ``query_ring``: the first step is computed in its four children and so many cells
      around them, 2 by default.

    Args:
        num_classes: See ``SRNHead``.
        in_channels: See ``SRNHead``.
        query_levels: STC levels whose first step is selective; the next coarser map
            answers. () leaves an ``SRNHead``. Default: P2.
        query_radius: A cell should say yes if a face of the finer level has its centre
            within so many strides of the cell's (our choice).
        query_cfg: Arguments of ``QueryBranch``, which all levels share.
        loss_query: Loss of the branch, divided by its positive cells. Default: with the
            gamma of QueryDet; with its weight of 10 it outweighed the others at first.
        **kwargs: See ``SRNHead``.

    Raises:
        ValueError: If ``query_levels`` are not STC levels, or include the coarsest.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        query_levels: Sequence[int] = (0,),
        query_radius: float = 1.0,
        query_cfg: dict = dict(),  # noqa: B006
        loss_query: dict = dict(  # noqa: B006
            type='FocalLoss', use_sigmoid=True, gamma=1.3, alpha=0.25
        ),
        **kwargs: Any,
    ) -> None:
        self.query_levels = query_levels
        self.query_radius = query_radius
        self.query_cfg = query_cfg
        super().__init__(num_classes, in_channels, **kwargs)
        if self.train_cfg:
            self.loss_query = MODELS.build(loss_query)
            momentum = self.train_cfg.get('avg_factor_momentum')
            self.query_avg_factors = AvgFactors(1, momentum)

    def _init_layers(self) -> None:
        super()._init_layers()
        checks.check_query_levels(self)
        if self.query_levels:
            self.query = QueryBranch(self.in_channels, **self.query_cfg)

    def with_dense_queries(self, x: Sequence[Tensor | DeferredMap]) -> list:
        """Compute the maps that the branch reads, once for all their readers."""
        x = list(x)
        for level in self.query_levels:
            _, seconds = self.split_steps(x)
            asked = seconds[level + 1]
            dense = to_dense(asked)
            x = [dense if each is asked else each for each in x]
        return x

    def query_maps(self, x: Sequence[Tensor | DeferredMap]) -> list[Tensor]:
        """Compute the logits (N, 1, h, w) of the map above each query level."""
        _, seconds = self.split_steps(x)
        with record_function(FIRST_STEP):
            return [self.query(to_dense(seconds[n + 1])) for n in self.query_levels]

    # -------------------------------------------------------------------- loss

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the losses of ``SRNHead`` and ``loss_query``."""
        losses = super().loss(x, batch_data_samples)
        if self.query_levels:
            gts = [sample.gt_instances for sample in batch_data_samples]
            ignored = [sample.get('ignored_instances') for sample in batch_data_samples]
            losses['loss_query'] = self.query_loss(self.query_maps(x), gts, ignored)
        return losses

    def query_loss(
        self,
        query_logits: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Tensor:
        """Compute the branch's loss from its logits (N, 1, h, w) for each level."""
        parts = []
        for level, logits in zip(self.query_levels, query_logits, strict=True):
            anchors = self.prior_generator.single_level_grid_priors(
                logits.shape[-2:], level + 1, device=logits.device
            )[:: self.num_base_priors]
            targets = query_targets(
                (anchors[:, :2] + anchors[:, 2:]) / 2,
                self.query_radius * max(self.prior_generator.strides[level + 1]),
                self.prior_generator.base_anchors[level].to(anchors),
                self.assigner.pos_iou_thr,
                batch_gt_instances,
                batch_gt_instances_ignore,
            )
            rows = (logits, targets.labels, targets.weights)
            parts.append([each.flatten() for each in rows])
        logits, labels, weights = map(torch.cat, zip(*parts, strict=True))
        [avg_factor] = self.query_avg_factors((labels == 0).sum().float()[None])
        return self.loss_query(
            logits[:, None].float(), labels, weights, avg_factor=avg_factor
        )

    # ----------------------------------------------------------------- predict

    def read_levels(
        self, x: Sequence[Tensor | DeferredMap], always: bool
    ) -> list[LevelOutputs]:
        """Prepare what ``predict`` reads, of the query levels at chosen cells alone."""
        x = self.with_dense_queries(x)
        return read_when_needed(self, *self.split_steps(x), always, self.choose(x))

    def choose(self, x: Sequence[Tensor | DeferredMap]) -> dict[int, Tensor]:
        """Find the cells, boolean (N, H, W), to compute of each query level."""
        threshold = self.test_cfg.get('query_thr', 0.12)
        ring = self.test_cfg.get('query_ring', 2)
        return {
            level: finer_cells(
                logits.squeeze(1).sigmoid() > threshold, x[level].shape[-2:], ring
            )
            for level, logits in zip(self.query_levels, self.query_maps(x), strict=True)
        }
