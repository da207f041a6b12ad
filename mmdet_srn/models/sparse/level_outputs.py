"""Predictions of a head on one level, computed before or when they are read."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.profiler import record_function

from ..losses.two_stage_focal_loss import full_precision
from ..spans import FIRST_STEP, SECOND_STEP
from .cells import Cells, Rows
from .deferred_map import DeferredMap, to_dense
from .partial_map import PartialMaps, SparseModule

if TYPE_CHECKING:
    from ..dense_heads import SRNHead

Reader = Callable[[Tensor], Tensor]
"""From cells (n, ), each y * W + x, to a predictor's output there, (n, channels)."""


class LevelOutputs(NamedTuple):
    """One level of N images, with A anchors per cell and C classes.

    Attributes:
        size: H, W.
        keep: Boolean (N, H * W, A), anchors that the first step leaves.
        logits: For each image, A * C channels.
        deltas: For each image, the second step's, A * 4 channels, or A * 5 where each
            anchor's deltas are followed by the logit of its IoU.
        first_deltas: For each image, the first step's, A * 4 channels; the very list
            ``deltas`` where both steps are one, None on levels that are regressed once.
    """

    size: tuple[int, int]
    keep: Tensor
    logits: list[Reader]
    deltas: list[Reader]
    first_deltas: list[Reader] | None

    def survivors(self, image: int) -> tuple[Tensor, Tensor]:
        """Read anchors (n, ) that the first step leaves, and their logits (n, C)."""
        keep = self.keep[image]
        cells = keep.any(dim=1).nonzero().squeeze(1)
        left = keep[cells]  # (cells, A)
        logits = full_precision(self.logits[image](cells))
        logits = logits.unflatten(1, (keep.shape[1], -1))[left]
        return keep.flatten().nonzero().squeeze(1), logits

    def read_deltas(self, image: int, priors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Read deltas (n, 4) of anchors (n, ): the second step's and the first's."""
        deltas = self._read(self.deltas, image, priors)[:, :4]
        if self.first_deltas is None:
            return deltas, None
        same = self.first_deltas is self.deltas
        return deltas, deltas if same else self._read(self.first_deltas, image, priors)

    def read_ious(self, image: int, priors: Tensor) -> Tensor:
        """Read the logits (n, ) of the IoU of anchors (n, )."""
        return self._read(self.deltas, image, priors)[:, 4]

    def _read(self, readers: list[Reader], image: int, priors: Tensor) -> Tensor:
        cells, anchors = priors // self.keep.shape[2], priors % self.keep.shape[2]
        values = full_precision(readers[image](cells))
        values = values.unflatten(1, (self.keep.shape[2], -1))  # (n, A, 4 or 5)
        return values[torch.arange(len(priors), device=priors.device), anchors]


def map_readers(outputs: Tensor) -> list[Reader]:
    """Read maps (N, channels, H, W) that are there already."""

    def reader(image: Tensor) -> Reader:
        rows = image.permute(1, 2, 0).flatten(0, 1)
        return lambda cells: rows.index_select(0, cells)

    return [reader(image) for image in outputs]


def partial_readers(maps: PartialMaps, module: SparseModule, span: str) -> list[Reader]:
    """Compute ``module`` on each image's map at the cells that are read.

    Where that cannot be faster, the first read computes all cells of all images. What
    is never read is never computed, and what an image's last call computed is not
    computed again. ``span`` names the work to a profiler.
    """
    in_part = all(image.may_pay(module) for image in maps.images)

    @cache
    def whole() -> list[Reader]:
        return map_readers(module.dense(maps.whole))

    def reader(image: int) -> Reader:
        known: list[Rows] = []

        def read(cells: Tensor) -> Tensor:
            source = maps.source
            if not len(cells):
                return source.new_zeros(0, module.out_channels)
            with record_function(span):
                if not in_part:
                    return whole()[image](cells)
                height, width = source.shape[-2:]
                mask = source.new_zeros(height * width, dtype=torch.bool)
                mask[cells] = True
                chosen = Cells(mask.view(height, width))
                if not known or not known[0].cells.holds(chosen):
                    known[:] = [Rows(chosen, maps.images[image].apply(module, chosen))]
                return known[0].values[known[0].cells.rows[cells]]

        return read

    return [reader(image) for image in range(len(maps.images))]


def read_cells(readers: Sequence[Reader], cells: Tensor, channels: int) -> Tensor:
    """Read logits (N, channels, H, W) at some cells; elsewhere they are -inf.

    Args:
        readers: For each image.
        cells: Boolean (N, H, W).
        channels: What a reader gives of a cell.
    """
    rows = [
        reader(own.flatten().nonzero().squeeze(1))
        for reader, own in zip(readers, cells, strict=True)
    ]
    values = rows[0].new_full((*cells.shape, channels), -torch.inf)
    values[cells] = torch.cat(rows)
    return values.permute(0, 3, 1, 2)


def read_when_needed(
    head: 'SRNHead',
    firsts: Sequence[Tensor | DeferredMap],
    seconds: Sequence[Tensor | DeferredMap],
    always: bool,
    chosen: Mapping[int, Tensor] | None = None,
) -> list[LevelOutputs]:
    """Prepare each level's outputs, of which most is computed when it is read.

    The first step's classes are computed at once, and those of levels without them.

    Args:
        head: Whose subnets and predictors to compute.
        firsts: The first step's maps, (N, C, H, W).
        seconds: The second step's.
        always: See ``SparseModule``.
        chosen: By STC level, the cells outside of which nothing survives and the first
            step is not computed, boolean (N, H, W). Other levels: all cells.
    """
    chosen = chosen or {}
    classify = SparseModule(head.cls_subnet, head.conv_cls, always=always)
    predictor = head.second_reg_predictor
    regress = regress_first = SparseModule(head.reg_subnet, predictor, always=always)
    if head.str_levels and head.first_reg_predictor is not predictor:
        predictor = head.first_reg_predictor
        regress_first = SparseModule(head.reg_subnet, predictor, always=always)
    levels = []
    for level, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        one_map = first is second
        cells = chosen.get(level)
        if cells is None:
            first = to_dense(first)
        if one_map:
            second = first
        elif level not in head.stc_levels:
            second = to_dense(second)
        maps = PartialMaps(second)
        deltas = first_deltas = partial_readers(maps, regress, SECOND_STEP)
        if level not in head.str_levels:
            first_deltas = None
        elif not one_map or regress_first is not regress:
            first_maps = maps if one_map else PartialMaps(first)
            first_deltas = partial_readers(first_maps, regress_first, FIRST_STEP)
        first_scores = None
        if level not in head.stc_levels:
            with record_function(SECOND_STEP):
                logits = map_readers(classify.dense(second))
        elif cells is not None:
            predictor = head.first_cls_predictor
            module = SparseModule(head.cls_subnet, predictor, always=always)
            first_maps = maps if one_map else PartialMaps(first)
            readers = partial_readers(first_maps, module, FIRST_STEP)
            first_scores = read_cells(readers, cells, module.out_channels)
            logits = partial_readers(maps, classify, SECOND_STEP)
        else:
            with record_function(FIRST_STEP):
                features = head.cls_subnet(first)
                first_scores = head.first_cls_predictor(features)
            if one_map:
                with record_function(SECOND_STEP):
                    logits = map_readers(head.conv_cls(features))
            else:
                logits = partial_readers(maps, classify, SECOND_STEP)
        keep = head.survivors(first if cells is None else first_scores, first_scores)
        if cells is not None:
            keep = keep & cells.flatten(1).unsqueeze(2)
        size = first.shape[-2:]
        levels.append(LevelOutputs(size, keep, logits, deltas, first_deltas))
    return levels
