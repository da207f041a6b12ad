"""FDDB: discrete and continuous ROC, as its evaluation code computes them.

Jain and Learned-Miller, "FDDB: A Benchmark for Face Detection in Unconstrained
Settings", UM-CS-2010-009, section 6, and the C++ code beside it, read in the copies
github.com/imistyrain/fddb and github.com/zimenglan-sysu-512/fddb-eval-code. Each rule
with its file:

- A region is a filled mask of the image's size, so what lies outside is cut off
  (Matching.cpp). A box covers the pixels from round(x) to round(x + w), both included
  (RectangleR.cpp). An ellipse is OpenCV's, its centre rounded and its radii cut to
  integers, its angle from x to y (EllipsesSingleImage.cpp, EllipseR.cpp).
- The overlap is the IoU of the masks, counted in pixels (Region.cpp).
- At each score, the detections of this score and more are matched anew with the faces,
  one to one, for the largest sum of overlaps (evaluate.cpp, Hungarian.cpp).
- A matched pair counts its overlap in the continuous score, and 1 in the discrete one
  if that is more than .5. False positives, of both curves, are the detections that the
  discrete one does not count (Results.cpp).
- One curve over all images of the 10 folds (vis-www.cs.umass.edu/fddb/faq.html).

What differs: the order of the images in the file of detections is free, and some may be
missing. OpenCV now draws ellipses on a finer grid than in 2010, so border pixels may
differ. Of two matchings with the same sum another one may be taken. Published
continuous curves are often of ellipses fitted to the boxes; here nothing is fitted.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from .detection_files import read_blocks

#: The faces' ellipses (G, 5); detections (D, 5) x, y, w, h, score or (D, 6) ellipse,
#: score; width and height.
Image: TypeAlias = tuple[np.ndarray, np.ndarray, tuple[int, int]]


class FDDBCurve(NamedTuple):
    """Both ROC curves, one point per distinct score."""

    scores: np.ndarray  # (N,), the thresholds, falling
    discrete: np.ndarray  # (N,), true positive rate
    continuous: np.ndarray  # (N,)
    false_positives: np.ndarray  # (N,), counts
    num_faces: int


def read_ellipses(path: Path) -> dict[str, np.ndarray]:
    """Read the annotation, image -> ellipses (n, 5) with the angle in radians.

    Args:
        path: ``FDDB-folds`` with its ``FDDB-fold-*-ellipseList.txt``, or one such file.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a line is malformed or an image comes twice, with file and line;
            if there are no faces.
    """
    faces: dict[str, np.ndarray] = {}
    for file in sorted(path.glob('*ellipseList.txt')) if path.is_dir() else [path]:
        for where, name, rows, _ in read_blocks(file):
            if name in faces or (len(rows) and rows.shape[1] != 6):
                raise ValueError(f'{where}: {name} came before, or has no ellipses')
            faces[name] = rows[:, :5]
    if not any(map(len, faces.values())):
        raise ValueError(f'{path} has no faces, or no FDDB-fold-*-ellipseList.txt')
    return faces


def evaluate_fddb(images: Iterable[Image]) -> FDDBCurve:
    """Compute the curves over all images."""
    num_faces, steps = 0, [np.zeros((0, 4))]
    for faces, rows, size in images:
        num_faces += len(faces)
        overlaps = region_overlaps(faces, rows[:, :-1], size)
        counts = count_matches(overlaps, rows[:, -1])
        # What each threshold adds to the one above it.
        counts[:, 1:] = np.diff(counts[:, 1:], axis=0, prepend=0)
        steps.append(counts)
    table = np.concatenate(steps)
    falling, index = np.unique(-table[:, 0], return_inverse=True)
    sums = np.zeros((len(falling), 3))
    np.add.at(sums, index.reshape(-1), table[:, 1:])
    overlap, hits, false_positives = sums.cumsum(axis=0).T
    rates = hits / num_faces, overlap / num_faces
    return FDDBCurve(-falling, *rates, false_positives, num_faces)


def rate_at(rates: np.ndarray, false_positives: np.ndarray, limit: int) -> float:
    """Return the best rate with at most ``limit`` false positives, 0 without a point.

    A curve that ends before goes on as it ends.
    """
    return float(rates[false_positives <= limit].max(initial=0))


def count_matches(overlaps: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Match the detections of one image at each of their scores.

    Args:
        overlaps: (G, D).
        scores: (D,).

    Returns:
        Float64 (N, 4), scores falling: score, sum of the overlaps of matched pairs,
        pairs of more than .5, false positives.
    """
    counts, touching = [], overlaps.any(axis=0)
    total, hits, num_before = 0.0, 0, 0
    for threshold in np.unique(scores)[::-1]:
        chosen = scores >= threshold
        candidates = overlaps[:, chosen & touching]
        # Detections without any overlap change nothing.
        if candidates.shape[1] > num_before:
            matched = candidates[linear_sum_assignment(candidates, maximize=True)]
            total, hits = matched.sum(), np.count_nonzero(matched > 0.5)
            num_before = candidates.shape[1]
        counts.append((threshold, total, hits, np.count_nonzero(chosen) - hits))
    return np.array(counts, float).reshape(-1, 4)


def region_overlaps(
    faces: np.ndarray, regions: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Compute the IoU (G, D) of regions (n, 4) x, y, w, h or (n, 5) ellipses."""
    face_masks = [_draw(face, size) for face in faces]
    overlaps = np.zeros((len(faces), len(regions)))
    for column, region in enumerate(regions):
        mask = _draw(region, size)
        for row, face_mask in enumerate(face_masks):
            if common := np.count_nonzero(face_mask & mask):
                overlaps[row, column] = common / np.count_nonzero(face_mask | mask)
    return overlaps


def _draw(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fill a region with 1 in an image of zeros."""
    mask = np.zeros(size[::-1], np.uint8)
    if len(region) == 4:
        corners = _round(region[:2]), _round(region[:2] + region[2:])
        return cv2.rectangle(mask, *corners, 1, cv2.FILLED)
    radii, angle = (int(region[0]), int(region[1])), np.degrees(region[2])
    return cv2.ellipse(mask, _round(region[3:]), radii, angle, 0, 360, 1, cv2.FILLED)


def _round(values: np.ndarray) -> list[int]:
    """Round as OpenCV does, after the float32 of CvPoint2D32f."""
    return np.rint(np.asarray(values, np.float32)).astype(int).tolist()
