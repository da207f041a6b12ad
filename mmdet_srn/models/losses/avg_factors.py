"""What losses are divided by, averaged over processes and, maybe, over time."""

import torch
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from torch import Tensor, nn


class AvgFactors(nn.Module):
    """Numbers of positives as ``avg_factor`` of losses.

    They are averaged over the processes, and at least 1 in all of them together. With
    ``momentum`` they are averaged over the batches as well, for batches so small that
    their positives say little. The average is saved with the checkpoint.

    Args:
        number (int): How many losses there are.
        momentum (float, optional): Weight of the batches before, in [0, 1); .9
            averages over about 10 batches. Defaults to None, each batch its own.

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
