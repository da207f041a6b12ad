"""What a face detector does at a threshold of its score, and how to choose one.

Everything follows from the curves of :func:`evaluate_face_ap`, so matching, ignored
faces and height bands are those of the AP. NumPy only.
"""

from typing import NamedTuple

import numpy as np

from .face_ap import FaceAP, ImageFaces, match_faces


class OperatingPoint(NamedTuple):
    """Figures of one height band; detections count from a score of ``threshold`` on.

    A true positive belongs to the band of its face, whatever the height of its box. A
    detection that takes no face, a false positive, belongs to the band of its own
    height. One that takes a face of another band, or an ignored one, counts neither
    way. As each band is matched by itself, as in COCO, the bands' counts need not add
    up to those over all faces.

    Attributes:
        threshold: Least score.
        precision: NaN if nothing counts as detected.
        recall: NaN if there are no faces.
        f1: Their harmonic mean, 2 TP / (2 TP + FP + FN); NaN if there are no faces.
        true_positives: Their number.
        false_positives: Their number.
        false_positives_per_image: On average over all images, those without faces
            included; NaN if there are no images.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    true_positives: int
    false_positives: int
    false_positives_per_image: float


def point_at(curve: FaceAP, threshold: float, num_images: int) -> OperatingPoint:
    """Compute the figures at a threshold.

    Args:
        curve: Of a height band.
        threshold: Least score.
        num_images: That the curve was made of.
    """
    # The scores fall.
    reached = np.count_nonzero(curve.scores >= threshold)
    hits = int(curve.hits[reached - 1]) if reached else 0
    false = int(curve.false_positives[reached - 1]) if reached else 0
    faces = curve.num_faces
    return OperatingPoint(
        threshold=threshold,
        precision=_ratio(hits, hits + false),
        recall=_ratio(hits, faces),
        # TP + FN are the faces.
        f1=_ratio(2 * hits, hits + false + faces) if faces else np.nan,
        true_positives=hits,
        false_positives=false,
        false_positives_per_image=_ratio(false, num_images),
    )


def best_f1(curve: FaceAP, num_images: int) -> OperatingPoint | None:
    """Find the threshold of the best F1, the highest among equals.

    Returns:
        Its figures. None if no face is found.
    """
    if not curve.hits.any():
        return None
    proposed = curve.hits + curve.false_positives
    point = np.argmax(2 * curve.hits / (proposed + curve.num_faces))
    return point_at(curve, _threshold(curve.scores, int(point)), num_images)


def lowest_threshold(
    curve: FaceAP, precision: float, num_images: int
) -> OperatingPoint | None:
    """Find the lowest threshold that reaches a precision: that with the most faces.

    The precision need not rise with the threshold: a higher one may miss it again.

    Args:
        curve: Of a height band.
        precision: Wished for, in (0, 1].
        num_images: That the curve was made of.

    Returns:
        Its figures. None if no threshold reaches the precision.
    """
    points = np.flatnonzero(curve.precision >= precision)
    if not len(points):
        return None
    return point_at(curve, _threshold(curve.scores, int(points[-1])), num_images)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _threshold(scores: np.ndarray, point: int) -> float:
    """Choose a threshold below a score (N,) and above the next lower one.

    It has as few digits as tell the two apart, and lies below the score so that it
    means the same for detectors that keep what is greater.
    """
    high = float(scores[point])
    low = float(scores[point + 1]) if point + 1 < len(scores) else -np.inf
    for digits in range(2, 17):
        # Rounded down, or a step further where that is the score itself.
        scaled = high * 10**digits
        value = (np.ceil(scaled) - 1) / 10**digits
        if low < value < high:
            return float(value)
    return high


class Outcomes(NamedTuple):
    """What becomes of the faces and detections of an image, over all heights."""

    found: np.ndarray  # the score that finds a face (G,): -inf: none, NaN: ignored
    false: np.ndarray  # detections that take no face, bool (D,)


def judge(image: ImageFaces, iou_thr: float = 0.5) -> Outcomes:
    """Match an image; at a threshold, the faces of a lower score are missed.

    Args:
        image: Its detections and faces.
        iou_thr: Least IoU of a match.
    """
    taken = match_faces(image, iou_thr)
    found = np.full(len(image.gt_bboxes), -np.inf)
    found[taken[taken >= 0]] = image.scores[taken >= 0]
    found[image.gt_ignored] = np.nan
    return Outcomes(found, taken < 0)
