"""Some cells of a map, computed the sparse and the dense way."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..models.sparse.partial_map import PartialMap, SparseModule
from ..models.sparse.sparse_layers import Rows


class SparseAndDense:
    """Both ways in which ``PartialMap`` may compute some cells of one image.

    Attributes:
        sparse_work (int): Multiply-adds of ``sparse``.
        dense_work (int): Multiply-adds of ``dense``.

    Args:
        modules (Sequence[nn.Module]): What reads the map, such as a subnet and its
            predictor; in evaluation mode.
        source (Tensor): The map, or what ``deferred`` makes it of; (1, C, H, W).
        cells (Tensor): Boolean (H, W), at least one.
        deferred (Sequence[nn.Module]): Layers that the neck left to the reader, as in
            ``DeferredMap``. Defaults to (), none.

    Raises:
        ValueError: If a module cannot be computed at some cells only.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        source: Tensor,
        cells: Tensor,
        deferred: Sequence[nn.Module] = (),
    ) -> None:
        self.modules = modules
        self.deferred = deferred
        self.cells = cells
        self.source = source
        self.renew()
        used = [self._reader, self._maker] if deferred else [self._reader]
        if any(module.chain is None for module in used):
            raise ValueError('a module cannot be computed at some cells only')
        need = self._reader.chain.reach(cells)
        self.sparse_work = self._map().sparse_work(self._reader, need, cells)
        self.dense_work = self._map().dense_work(self._reader)

    def renew(self) -> None:
        """Forget how the weights were laid out for the sparse computation.

        ``SRNHead.predict`` lays out contiguous weights of the subnet once a batch,
        where a level is sparse, and those of ``deferred`` for each level. Weights
        channels last are read as they lie.
        """
        self._reader = SparseModule(*self.modules, always=True)
        self._maker = SparseModule(*self.deferred) if self.deferred else None

    def sparse(self) -> Tensor:
        """Compute the cells alone, (number of cells, C')."""
        return self._map().apply(self._reader, self.cells)

    def dense(self) -> Tensor:
        """Compute the whole map, and read the cells, (number of cells, C')."""
        feature_map = self.source
        if self._maker is not None:
            feature_map = self._maker.dense(feature_map)
        return Rows.of(self._reader.dense(feature_map)[0], self.cells).values

    def choose(self) -> bool:
        """Choose as ``PartialMap`` does; whether the sparse way is the cheaper."""
        chosen = SparseModule(*self.modules)
        feature_map = self._map()
        if not feature_map.may_pay(chosen):
            return False
        need = chosen.chain.reach(self.cells)
        return feature_map.sparse_pays(chosen, need, self.cells)

    def _map(self) -> PartialMap:
        """Make one of which nothing is computed yet."""
        return PartialMap(self.source, self._maker)
