"""A feature map whose last layers are left to its reader."""

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..spans import NECK


class Added(nn.Module):
    """Adds a map (N, C, H, W), such as the upsampled one above in a pyramid."""

    def __init__(self, addend: Tensor) -> None:
        super().__init__()
        self.addend = addend
        self.out_channels = addend.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Add to x (N, C, H, W)."""
        return x + self.addend


class DeferredMap:
    """What a neck may return in place of a map, so that its reader can save work.

    In mmdet's ``FPN`` it also stands for a lateral: it has a shape, and what is added
    to it is deferred as well.

    Args:
        source: (N, C, H, W).
        layers: At least one; applied in turn to ``source`` they make the map. Each
            keeps height and width, and the last one has ``out_channels``.
    """

    def __init__(self, source: Tensor, *layers: nn.Module) -> None:
        self.source = source
        self.layers = layers

    @property
    def shape(self) -> tuple[int, ...]:
        """N, C', H, W."""
        # no torch.Size: in an export these are symbols
        number, _, *size = self.source.shape
        return (number, self.layers[-1].out_channels, *size)

    def then(self, layer: nn.Module) -> 'DeferredMap':
        """Defer one more layer."""
        return DeferredMap(self.source, *self.layers, layer)

    def __add__(self, addend: Tensor) -> 'DeferredMap':
        """Defer the sum with a map (N, C', H, W).

        Raises:
            ValueError: If the map has another shape.
        """
        # under a trace sizes are tensors, and the sum itself will fail
        if not torch.jit.is_tracing() and tuple(addend.shape) != self.shape:
            raise ValueError(
                f'a map {tuple(addend.shape)} cannot be added to one {self.shape}; if '
                'the neck upsamples by scale_factor, its maps must be even'
            )
        return self.then(Added(addend))

    def split(self) -> list['DeferredMap']:
        """Split into the map of each image, as a batch of one."""
        # split: indexing an image would lose the memory format
        addends = {
            layer: layer.addend.split(1)
            for layer in self.layers
            if isinstance(layer, Added)
        }
        return [
            DeferredMap(
                source,
                *(
                    Added(addends[layer][image]) if layer in addends else layer
                    for layer in self.layers
                ),
            )
            for image, source in enumerate(self.source.split(1))
        ]

    def dense(self) -> Tensor:
        """Compute the whole map, (N, C', H, W)."""
        feature_map = self.source
        with record_function(NECK):
            for layer in self.layers:
                feature_map = layer(feature_map)
        return feature_map


def to_dense(feature_map: Tensor | DeferredMap) -> Tensor:
    """Return the map (N, C, H, W), computed if it was deferred."""
    if isinstance(feature_map, DeferredMap):
        return feature_map.dense()
    return feature_map
