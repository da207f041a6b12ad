"""The cost of sparse multiply-adds, fitted to measured times."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from .sparse_cost import SparseComparison, SparseCost


def fit_sparse_cost(cases: Sequence[SparseComparison]) -> SparseCost:
    """Fit factor and overhead by least squares.

    The sparse time of each case is told in multiply-adds, by the rate at which the
    dense computation of the same map does them, and predicted as ``factor *
    sparse_work + overhead``. The error counts as a share of the slower one's time. So a
    small map counts as much as a large one; a sparse time far below the dense one,
    where any cost chooses rightly, counts little, and one far above it no more than
    one beside it.

    Args:
        cases (Sequence[SparseComparison]): What was measured.

    Returns:
        SparseCost: Neither number is below 0.

    Raises:
        ValueError: If a number is not positive and finite, or if all cases have the
            same sparse work, which leaves the two numbers open.
    """
    table = np.array(cases, dtype=np.float64).reshape(-1, len(SparseComparison._fields))
    wrong = ~(np.isfinite(table) & (table > 0)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f'work and times must be positive and finite, got {cases[wrong.argmax()]}'
        )
    sparse_work, dense_work, sparse_seconds, dense_seconds = table.T
    if len(np.unique(sparse_work)) < 2:
        raise ValueError(
            'factor and overhead need cases of different sparse work, got '
            f'{len(cases)} of the same'
        )
    target = sparse_seconds * dense_work / dense_seconds
    weight = 1 / np.maximum(target, dense_work)
    terms = weight[:, None] * np.stack([sparse_work, np.ones_like(sparse_work)], axis=1)
    units = np.linalg.norm(terms, axis=0)  # a factor is 1, an overhead 1e8
    solution, _ = nnls(terms / units, weight * target)
    return SparseCost(*(solution / units).tolist())
