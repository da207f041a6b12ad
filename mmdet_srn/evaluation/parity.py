"""Compare the detections of two runtimes."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

#: Boxes (K, 4), xyxy in pixels, and scores (K,).
Detections = tuple[np.ndarray, np.ndarray]
#: Largest differences of a corner in pixels, and of a score (our choice).
BOX_TOLERANCE, SCORE_TOLERANCE = 0.05, 1e-4


class Parity(NamedTuple):
    """How well two lists of detections agree."""

    numbers: tuple[int, int]  # of detections in each
    pairs: int  # detections with a partner in the other list, within both tolerances
    box_diff: float  # largest difference of a coordinate in these pairs, in pixels
    score_diff: float  # largest difference of a score in these pairs

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
    """Pair the detections of one image, whatever their order."""
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
