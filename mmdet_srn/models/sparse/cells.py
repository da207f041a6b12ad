"""Some cells of a map, and values there."""

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from .sparse_layers import Layer


class Cells:
    """Some cells of a map; what several layers ask of them is found once.

    Attributes:
        mask: Boolean (H, W), not to be changed.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self._read: dict[Layer, Cells] = {}

    @cached_property
    def indices(self) -> Tensor:
        """Each y * W + x, (n, ), row by row."""
        return self.mask.flatten().nonzero().squeeze(1)

    @property
    def count(self) -> int:
        """Number of cells, n."""
        return len(self.indices)

    @cached_property
    def rows(self) -> Tensor:
        """Of each cell of the map the number of its row in ``Rows``, (H * W, )."""
        return self.mask.flatten().cumsum(0) - 1

    def read_by(self, layer: 'Layer') -> 'Cells':
        """Find the cells of a layer's input that its output at these cells needs."""
        if layer not in self._read:
            self._read[layer] = layer.reach(self)
        return self._read[layer]

    def holds(self, others: 'Cells') -> bool:
        """Tell whether all others are among these."""
        return others is self or not (others.mask & ~self.mask).any()


class Rows(NamedTuple):
    """Some cells of one image's map.

    Attributes:
        cells: Which cells these are.
        values: (number of cells, C), row by row.
    """

    cells: Cells
    values: Tensor

    @classmethod
    def of(cls, feature_map: Tensor, cells: Cells) -> 'Rows':
        """Read them from a map (C, H, W)."""
        # a view in both memory formats, and fast in both
        rows = feature_map.permute(1, 2, 0).flatten(0, 1)
        return cls(cells, rows.index_select(0, cells.indices))

    def at(self, cells: Cells) -> Tensor:
        """Values (n, C) of some of the cells."""
        if cells is self.cells:
            return self.values
        return self.values[self.cells.rows[cells.indices]]
