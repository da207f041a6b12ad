"""A feature map whose last convolution is left to who reads the map."""

from collections.abc import Sequence
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


def all_dense(feature_maps: Sequence[Tensor | DeferredMap]) -> list[Tensor]:
    """Return the maps, each computed once, however often it is among them."""
    made: dict[int, Tensor] = {}
    for feature_map in feature_maps:
        if id(feature_map) not in made:
            made[id(feature_map)] = to_dense(feature_map)
    return [made[id(feature_map)] for feature_map in feature_maps]
