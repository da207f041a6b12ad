"""What a head says of the cells of a level, computed before or when it is read."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..utils.partial_map import PartialMaps, SparseModule

Reader = Callable[[Tensor], Tensor]
"""From cells (n, ), each y * W + x, to what the head says of them, (n, channels)."""


class LevelOutputs(NamedTuple):
    """One level of N images, with A anchors per cell.

    Attributes:
        size (tuple[int, int]): H, W.
        keep (Tensor): Boolean (N, H * W, A), anchors that the first step leaves.
        logits (list[Reader]): Of each image, A * num_classes channels.
        deltas (list[Reader]): The same of the second step's boxes, A * 4 channels.
        first_deltas (list[Reader], optional): The same of the first step's; the very
            list ``deltas`` where both steps read one map. None on levels that
            are regressed once.
    """

    size: tuple[int, int]
    keep: Tensor
    logits: list[Reader]
    deltas: list[Reader]
    first_deltas: list[Reader] | None


def map_readers(outputs: Tensor) -> list[Reader]:
    """Read maps (N, channels, H, W) that are there already."""

    def reader(image: Tensor) -> Reader:
        rows = image.permute(1, 2, 0).flatten(0, 1)
        return lambda cells: rows.index_select(0, cells)

    return [reader(image) for image in outputs]


def partial_readers(maps: PartialMaps, module: SparseModule) -> list[Reader]:
    """Compute ``module`` on each image's map at the cells that are read.

    Where that cannot be faster, compute all cells of all images when the first is
    read; in any case nothing where none is.
    """
    in_part = maps.may_pay(module)

    @cache
    def whole() -> list[Reader]:
        return map_readers(maps.apply_to_all(module))

    def reader(image: int) -> Reader:
        def read(cells: Tensor) -> Tensor:
            source = maps.source
            if not len(cells):
                return source.new_zeros(0, module.out_channels)
            if not in_part:
                return whole()[image](cells)
            height, width = source.shape[-2:]
            chosen = source.new_zeros(height * width, dtype=torch.bool)
            chosen[cells] = True
            rows = chosen.cumsum(0)[cells] - 1
            return maps.images[image].apply(module, chosen.view(height, width))[rows]

        return read

    return [reader(image) for image in range(len(maps.images))]
