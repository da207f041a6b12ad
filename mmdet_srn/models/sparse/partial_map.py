"""Feature maps, computed where they are read and only once."""

from functools import cached_property
from itertools import cycle

from torch import Tensor, nn

from .cells import Cells, Rows
from .deferred_map import Added, DeferredMap, to_dense
from .sparse_layers import sparse_chain

SPARSE_COST = {'cpu': (1.45, 0.06e9)}
"""Cost of sparse multiply-adds in dense ones: a factor, and an overhead.

Devices that are missing here, such as GPUs, have not been measured.

Measured by ``benchmark_sparse.py --runs 3`` on 2 cores of an AMD EPYC (family 25
model 17) in fp32: 176 cases, RFE subnet of 256 channels, with and without a deferred
convolution, maps of 256x256 to 10x8 cells, 0.005 to 0.9 of the cells in clusters like
faces. With the least-squares fit, 1.38 and 0.07e9, some maps were up to 18 % slower
than computed whole; with these values none was, and none took over 5.5 % longer than
the faster choice. Choosing takes 1 to 3 ms. With the sum deferred as well (38 cases)
the choice was always the faster one; of 76 repeated others one was 4 % slower than
computed whole.
"""


class SparseModule:
    """Modules that can be computed all over a map, and maybe at some cells only.

    Args:
        modules: Applied to a map in turn; the last one has ``out_channels``.
        always: Whether to compute only the cells that are read even where the whole
            map would be faster.
    """

    def __init__(self, *modules: nn.Module, always: bool = False) -> None:
        self.dense = nn.Sequential(*modules)  # computes the whole output
        self.always = always
        self.out_channels = modules[-1].out_channels
        self.chain = sparse_chain(self.dense)


class PartialMap:
    """A map of one image, computed where it is read and only once.

    Args:
        source: (1, C, H, W).
        conv: Makes the map of ``source``; None where that is the map.
    """

    def __init__(self, source: Tensor, conv: SparseModule | None = None) -> None:
        self.source = source
        self.conv = conv
        self._map = source if conv is None else None
        self._rows: Rows | None = None

    def apply(self, module: SparseModule, cells: Cells) -> Tensor:
        """Compute ``module`` on this map at some cells: (number of cells, C').

        There must be at least one; the output is in their order, row by row.
        """
        if self.may_pay(module):
            need = module.chain.reach(cells)
            if module.always or self.sparse_pays(module, need, cells):
                return module.chain(self._at_least(need), cells).values
        if self._map is None:
            self._map = self.conv.dense(self.source)
        return Rows.of(module.dense(self._map)[0], cells).values

    def may_pay(self, module: SparseModule) -> bool:
        """Whether computing some cells could be faster than the whole map."""
        if module.chain is None or module.always:
            return module.chain is not None
        return self._cost[1] < self.dense_work(module)

    @property
    def _cost(self) -> tuple[float, float]:
        return SPARSE_COST[self.source.device.type]

    def dense_work(self, module: SparseModule) -> int:
        """Multiply-adds to compute ``module`` on the whole map."""
        per_cell = module.chain.work
        if self._map is None:
            per_cell += self.conv.chain.work
        return per_cell * self.source[0, 0].numel()

    def sparse_work(self, module: SparseModule, need: Cells, cells: Cells) -> int:
        """Multiply-adds to compute ``module`` at cells that need others of the map."""
        work = module.chain.work_at(need, cells)
        if self._map is None and not self._has(need):
            chain = self.conv.chain
            work += chain.work_at(chain.reach(need), need)
        return work

    def sparse_pays(self, module: SparseModule, need: Cells, cells: Cells) -> bool:
        """Whether that is faster than the whole map."""
        factor, overhead = self._cost
        work = self.sparse_work(module, need, cells)
        return factor * work + overhead < self.dense_work(module)

    def _has(self, cells: Cells) -> bool:
        return self._rows is not None and self._rows.cells.holds(cells)

    def _at_least(self, cells: Cells) -> Rows:
        if self._map is not None:
            return Rows.of(self._map[0], cells)
        if not self._has(cells):
            chain = self.conv.chain
            self._rows = chain(Rows.of(self.source[0], chain.reach(cells)), cells)
        return self._rows


class PartialMaps:
    """A batch's map (N, C', H, W), computed where it is read and only once.

    Attributes:
        source: (N, C, H, W), the map or what it is made of.
        images: The map of each image.
    """

    def __init__(self, feature_map: Tensor | DeferredMap) -> None:
        convs = [None]
        if isinstance(feature_map, DeferredMap):
            parts = [feature_map]
            if any(isinstance(layer, Added) for layer in feature_map.layers):
                parts = feature_map.split()  # what is added is each image's own
            convs = [SparseModule(*part.layers) for part in parts]
            if convs[0].chain is None:
                feature_map, convs = feature_map.dense(), [None]
        self._feature_map = feature_map
        self.source = feature_map if convs[0] is None else feature_map.source
        # split: indexing an image would lose the memory format
        self.images = list(map(PartialMap, self.source.split(1), cycle(convs)))

    @cached_property
    def whole(self) -> Tensor:
        """The map itself, (N, C', H, W)."""
        return to_dense(self._feature_map)
