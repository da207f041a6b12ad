"""Several predictors as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SideBySide(nn.Module):
    """Convolutions of one map, whose outputs lie side by side for each anchor.

    Args:
        num_anchors: Anchors per cell, A.
        *convs: Each keeps the map's size and gives some channels to each anchor.
    """

    def __init__(self, num_anchors: int, *convs: nn.Conv2d) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.convs = nn.ModuleList(convs)
        self.out_channels = sum(conv.out_channels for conv in convs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (N, A * (a + b + ...), H, W) of x (N, C, H, W)."""
        return self.join([conv(x) for conv in self.convs])

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        """Join outputs (N, A * a, ...), (N, A * b, ...), ..."""
        parts = [each.unflatten(1, (self.num_anchors, -1)) for each in outputs]
        return torch.cat(parts, dim=2).flatten(1, 2)
