"""A feature map whose last convolution is left to who reads the map."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class DeferredMap:
    """What a neck may return in place of a map, so that its reader can save work.

    Attributes:
        source (Tensor): Shape (N, C, H, W).
        conv (nn.Module): What makes the map of it, of the same height and width.
    """

    source: Tensor
    conv: nn.Module

    def dense(self) -> Tensor:
        """Compute the whole map, (N, C', H, W)."""
        return self.conv(self.source)


def to_dense(feature_map: Tensor | DeferredMap) -> Tensor:
    """Return the map (N, C, H, W), computed if it was deferred."""
    if isinstance(feature_map, DeferredMap):
        return feature_map.dense()
    return feature_map
