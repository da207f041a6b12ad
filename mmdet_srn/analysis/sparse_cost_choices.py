"""How well a cost chooses between the sparse and the dense computation."""

from collections.abc import Sequence
from typing import NamedTuple

from .sparse_cost import SparseComparison, SparseCost


class Choices(NamedTuple):
    """What a cost's choices lose, as shares of a time; 0.05 is 5 percent slower.

    Attributes:
        wrong (int): Cases in which the slower one is chosen.
        mean_lost (float): Lost against the faster one, on average over all cases.
        most_lost (float): The most of these.
        most_lost_at (int): Number of that case.
        most_lost_to_dense (float): The most lost against the dense computation; below
            0 if it is nowhere slower.
        most_lost_to_dense_at (int): Number of that case.
    """

    wrong: int
    mean_lost: float
    most_lost: float
    most_lost_at: int
    most_lost_to_dense: float
    most_lost_to_dense_at: int


def lost(cost: SparseCost, case: SparseComparison) -> float:
    """Time that the choice loses, as a share of the faster one's."""
    return cost.seconds(case) / case.better_seconds - 1


def judge(cost: SparseCost, cases: Sequence[SparseComparison]) -> Choices:
    """Judge a cost by what it chooses.

    Args:
        cost (SparseCost): The cost.
        cases (Sequence[SparseComparison]): What was measured, at least one case.

    Returns:
        Choices: What it loses.
    """
    losses = [lost(cost, case) for case in cases]
    to_dense = [cost.seconds(case) / case.dense_seconds - 1 for case in cases]
    most, most_to_dense = max(losses), max(to_dense)
    return Choices(
        wrong=sum(loss > 0 for loss in losses),
        mean_lost=sum(losses) / len(losses),
        most_lost=most,
        most_lost_at=losses.index(most),
        most_lost_to_dense=most_to_dense,
        most_lost_to_dense_at=to_dense.index(most_to_dense),
    )
