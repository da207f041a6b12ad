"""Guess the columns of a result folder that are not x, y, w, h, score."""

from collections.abc import Callable

import numpy as np

from .wider_face_eval import SubsetResult, WIDERFaceDetections, evaluate_wider_face
from .wider_face_ground_truth import WIDERFaceGroundTruth

# Below this almost nothing is found; published detectors are above 0.8.
_LOW_AP = 0.1


def _from_corners(boxes: np.ndarray) -> np.ndarray:
    return np.c_[boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]


# Box formats, and the conversion of each to x, y, w, h
_BOXES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'x y w h': lambda boxes: boxes,
    'x1 y1 x2 y2': _from_corners,
    'y1 x1 y2 x2': lambda boxes: _from_corners(boxes[:, [1, 0, 3, 2]]),
    'y x h w': lambda boxes: boxes[:, [1, 0, 3, 2]],
    'cx cy w h': lambda boxes: np.c_[boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]],
}


def guess_columns(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    results: dict[str, SubsetResult],
) -> str:
    """Say in words what the columns seem to be if almost nothing is found.

    Evaluates every other order, which takes some seconds. Empty if the columns, read as
    x, y, w, h, score, are right, or nothing better is known.
    """
    rows = detections.rows
    found = _mean_ap(results)
    if not len(rows) or not found < _LOW_AP:
        return ''
    if np.mean((np.abs(rows) <= 1).all(axis=1)) > 0.95:
        return 'fractions of the image, from 0 to 1'
    guesses = {}
    for name, boxes in _BOXES.items():
        tables = {
            f'{name} score': np.c_[boxes(rows[:, :4]), rows[:, 4]],
            f'score {name}': np.c_[boxes(rows[:, 1:]), rows[:, 0]],
        }
        for order, table in tables.items():
            moved = WIDERFaceDetections(table, detections.offsets)
            guesses[order] = _mean_ap(evaluate_wider_face(moved, ground_truth))
    best = max(guesses, key=lambda order: guesses[order])
    return best if guesses[best] > max(3 * found, _LOW_AP) else ''


def _mean_ap(results: dict[str, SubsetResult]) -> float:
    """Average the AP of the subsets that have faces; NaN if none has."""
    aps = [result.ap for result in results.values() if result.num_faces]
    return float(np.mean(aps)) if aps else np.nan
