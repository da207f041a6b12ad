"""Whether two runtimes find the same boxes."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

Detections = tuple[np.ndarray, np.ndarray]
"""Boxes (K, 4), xyxy in pixels, and scores (K, )."""

BOX_TOLERANCE = 0.05
"""Pixels that a corner may differ by (our choice)."""
SCORE_TOLERANCE = 1e-4
"""What a score may differ by (our choice)."""


class Parity(NamedTuple):
    """How alike two lists of detections are.

    Attributes:
        numbers (tuple[int, int]): How many detections each has.
        pairs (int): How many have one partner in the other list, within both
            tolerances.
        box_diff (float): Largest difference of a coordinate in these pairs, pixels.
        score_diff (float): Largest difference of the scores in these pairs.
    """

    numbers: tuple[int, int]
    pairs: int
    box_diff: float
    score_diff: float

    @property
    def same(self) -> bool:
        """Whether every detection has its partner."""
        return self.numbers == (self.pairs, self.pairs)


def compare_detections(
    first: Detections,
    second: Detections,
    box_tolerance: float = BOX_TOLERANCE,
    score_tolerance: float = SCORE_TOLERANCE,
) -> Parity:
    """Pairs the detections of one image, whatever their order.

    Args:
        first (Detections): Of one runtime.
        second (Detections): Of another.
        box_tolerance (float): In pixels. Defaults to 0.05.
        score_tolerance (float): Defaults to 1e-4.

    Returns:
        Parity: The result.
    """
    numbers = (len(first[1]), len(second[1]))
    box_diff = np.abs(first[0][:, None] - second[0][None]).max(axis=2, initial=0)
    score_diff = np.abs(first[1][:, None] - second[1][None])
    within = (box_diff <= box_tolerance) & (score_diff <= score_tolerance)
    # Most pairs first, then the nearest.
    distance = box_diff / box_tolerance + score_diff / score_tolerance
    rows, columns = linear_sum_assignment(np.where(within, distance, 1e6))
    paired = within[rows, columns]
    rows, columns = rows[paired], columns[paired]
    return Parity(
        numbers,
        len(rows),
        float(box_diff[rows, columns].max(initial=0)),
        float(score_diff[rows, columns].max(initial=0)),
    )
