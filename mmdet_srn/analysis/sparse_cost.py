"""What ``PartialMap`` chooses by, and what it chooses between."""

from typing import NamedTuple


class SparseComparison(NamedTuple):
    """Some cells of a map, computed both ways.

    Attributes:
        sparse_work (int): Multiply-adds at the cells alone.
        dense_work (int): Multiply-adds all over the map.
        sparse_seconds (float): Time of the one.
        dense_seconds (float): Time of the other.
    """

    sparse_work: int
    dense_work: int
    sparse_seconds: float
    dense_seconds: float

    @property
    def better_seconds(self) -> float:
        """Time of the faster one."""
        return min(self.sparse_seconds, self.dense_seconds)


class SparseCost(NamedTuple):
    """What sparse multiply-adds cost, as in ``partial_map.SPARSE_COST``.

    Attributes:
        factor (float): Dense multiply-adds in the time of a sparse one.
        overhead (float): Dense multiply-adds in the time of all the rest.
    """

    factor: float
    overhead: float

    def pays(self, case: SparseComparison) -> bool:
        """Whether the sparse computation is chosen."""
        return self.factor * case.sparse_work + self.overhead < case.dense_work

    def seconds(self, case: SparseComparison) -> float:
        """Time of what is chosen."""
        return case.sparse_seconds if self.pays(case) else case.dense_seconds
