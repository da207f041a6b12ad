"""Normalisers of losses, averaged over processes and, optionally, over batches."""

import torch
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from torch import Tensor, nn


class AvgFactors(nn.Module):
    """Numbers of positives as ``avg_factor`` of losses.

    They are averaged over the processes, with a total of at least 1. ``momentum``
    averages them over batches as well, for batches with few positives; the average is
    saved with the checkpoint.

    Args:
        number: Number of losses.
        momentum: Weight of earlier batches, in [0, 1); .9 averages over about 10
            batches. None: each batch has its own.

    Raises:
        ValueError: If ``momentum`` is outside [0, 1).
    """

    def __init__(self, number: int, momentum: float | None = None) -> None:
        super().__init__()
        if momentum is not None and not 0 <= momentum < 1:
            raise ValueError(f'avg_factor_momentum={momentum} must be in [0, 1)')
        self.momentum = momentum
        if momentum is not None:
            self.register_buffer('total', torch.zeros(number))
            self.register_buffer('weight', torch.zeros(()))

    def forward(self, counts: Tensor) -> Tensor:
        """Average this process's counts, shape (number, )."""
        counts = reduce_mean(counts)
        if self.momentum is not None and self.training:
            self.total.mul_(self.momentum).add_(counts)
            self.weight.mul_(self.momentum).add_(1)
            counts = self.total / self.weight
        return counts.clamp(min=1 / get_world_size())
