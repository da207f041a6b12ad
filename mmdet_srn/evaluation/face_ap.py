"""AP of a face detector by face height, for any data set; needs NumPy only.

The common definition (greedy matching, real-valued IoU), not the official WIDER FACE
evaluation, which is in :mod:`.wider_face_eval`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .average_precision import voc_average_precision

#: All faces, and half-open height bands [low, high) in pixels of the original image.
#: Keys are suffixes of metric names.
HEIGHT_BANDS: dict[str, tuple[float, float]] = {
    'all': (-np.inf, np.inf),
    'lt16': (-np.inf, 16.0),
    '16to32': (16.0, 32.0),
    '32to96': (32.0, 96.0),
    'ge96': (96.0, np.inf),
}


@dataclass(frozen=True, slots=True)
class ImageFaces:
    """Detections and ground truth of one image, boxes as xyxy in pixels."""

    bboxes: np.ndarray  # detected, (D, 4)
    scores: np.ndarray  # (D,)
    gt_bboxes: np.ndarray  # annotated, (G, 4)
    gt_ignored: np.ndarray  # bool (G,): neither required nor penalized


class FaceAP(NamedTuple):
    """AP of one height band, and its curve with one point per distinct score."""

    ap: float  # NaN if the band has no face
    num_faces: int  # faces to be found
    recall: np.ndarray  # (N,), non-decreasing
    precision: np.ndarray  # (N,)
    scores: np.ndarray  # (N,), the thresholds, falling
    hits: np.ndarray  # true positives, int (N,)
    false_positives: np.ndarray  # int (N,)


def read_instances(
    instances: Iterable[Mapping[str, Any]], label: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Read the faces of one class from an image's ``instances``, as mmdet has them.

    Args:
        instances: Each with ``bbox`` (xyxy), and perhaps ``bbox_label`` and
            ``ignore_flag``, both 0 where missing.
        label: Of the class.

    Returns:
        Boxes (G, 4), and which of them are ignored, bool (G,).
    """
    faces = [face for face in instances if face.get('bbox_label', 0) == label]
    bboxes = np.array([face['bbox'] for face in faces], float).reshape(-1, 4)
    ignored = np.array([face.get('ignore_flag', 0) for face in faces], bool)
    return bboxes, ignored


def evaluate_face_ap(
    images: Iterable[ImageFaces], iou_thr: float = 0.5
) -> dict[str, FaceAP]:
    """Compute AP over all faces and by face height, band name -> result.

    In each image the detections choose faces in descending order of score, equal scores
    in list order. Each takes the free, counted face with the largest IoU of at least
    ``iou_thr`` (the first in list order among equals) and is a true positive. Without
    such a face it is ignored if it overlaps an ignored face, otherwise it is a false
    positive.

    Height bands, [low, high) in pixels, follow COCO's area ranges: faces outside the
    band are ignored, each for one detection only, and so are unmatched detections whose
    own height is outside the band. Faces that the annotation ignores do so for any
    number of detections, like COCO's crowds, though by IoU.

    Widths and heights are x2 - x1 and y2 - y1. The curve has one point per distinct
    score, so the order of images does not matter; AP is the area under its envelope.
    """
    prepared = [_prepare(image, iou_thr) for image in images]
    return {
        name: _evaluate_band(prepared, *limits) for name, limits in HEIGHT_BANDS.items()
    }


def match_faces(image: ImageFaces, iou_thr: float = 0.5) -> np.ndarray:
    """Find the face that each detection takes over all faces, ignored ones included.

    The matching is that of :func:`evaluate_face_ap`. At a threshold of the score it is
    the same, without the detections below.

    Returns:
        Rows of ``gt_bboxes``, -1 for none, int (D,).
    """
    prepared = _prepare(image, iou_thr)
    faces = np.empty(len(prepared.scores), int)
    faces[prepared.order] = _match(prepared, ~prepared.gt_ignored)
    return faces


class _Prepared(NamedTuple):
    """One image, detections in descending order of score."""

    order: np.ndarray  # the detections' rows in the image, (D,)
    scores: np.ndarray  # (D,)
    heights: np.ndarray  # of the detections, (D,)
    gt_heights: np.ndarray  # (G,)
    gt_ignored: np.ndarray  # bool (G,)
    candidates: list[tuple[int, list[int]]]  # row, overlapping faces from the best on


def _prepare(image: ImageFaces, iou_thr: float) -> _Prepared:
    scores = np.asarray(image.scores, np.float64).reshape(-1)
    bboxes = np.asarray(image.bboxes, np.float64).reshape(-1, 4)
    gt_bboxes = np.asarray(image.gt_bboxes, np.float64).reshape(-1, 4)
    order = np.argsort(-scores, kind='stable')
    scores, bboxes = scores[order], bboxes[order]
    iou = pairwise_iou(bboxes, gt_bboxes)
    close = iou >= iou_thr
    candidates = []
    for row in np.flatnonzero(close.any(axis=1)):
        faces = np.flatnonzero(close[row])
        best_first = faces[np.argsort(-iou[row, faces], kind='stable')]
        candidates.append((int(row), best_first.tolist()))
    return _Prepared(
        order=order,
        scores=scores,
        heights=bboxes[:, 3] - bboxes[:, 1],
        gt_heights=gt_bboxes[:, 3] - gt_bboxes[:, 1],
        gt_ignored=np.asarray(image.gt_ignored, bool).reshape(-1),
        candidates=candidates,
    )


def _evaluate_band(images: Sequence[_Prepared], low: float, high: float) -> FaceAP:
    num_faces = 0
    scores, hits = [], []
    for image in images:
        inside = (image.gt_heights >= low) & (image.gt_heights < high)
        counts = inside & ~image.gt_ignored
        num_faces += int(np.count_nonzero(counts))
        faces = _match(image, counts)
        # The last one stands for the face of those without one.
        hit = np.append(counts, False)[faces]
        # Unmatched detections are judged by their own height.
        counted = hit | ((faces < 0) & (image.heights >= low) & (image.heights < high))
        scores.append(image.scores[counted])
        hits.append(hit[counted])
    none = np.zeros(0)
    return _curve(
        np.concatenate([none, *scores]),
        np.concatenate([none.astype(bool), *hits]),
        num_faces,
    )


def _match(image: _Prepared, counts: np.ndarray) -> np.ndarray:
    """Match detections greedily; prefer the faces that count, bool (G,).

    Returns:
        The face that each detection takes, -1 for none, int (D,).
    """
    matched = np.full(len(image.scores), -1)
    ignored = image.gt_ignored.tolist()
    counted = counts.tolist()
    taken: set[int] = set()
    for row, faces in image.candidates:
        free = [face for face in faces if ignored[face] or face not in taken]
        if not free:
            continue
        face = next((face for face in free if counted[face]), free[0])
        matched[row] = face
        taken.add(face)
    return matched


def _curve(scores: np.ndarray, hits: np.ndarray, num_faces: int) -> FaceAP:
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], hits[order]
    # Only the last of a run of equal scores is a point that a threshold can reach.
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    found = np.cumsum(hits)[last]
    recall = found / num_faces if num_faces else np.full(len(found), np.nan)
    proposed = np.flatnonzero(last) + 1
    precision = found / proposed
    ap = voc_average_precision(recall, precision) if num_faces else np.nan
    return FaceAP(
        ap, num_faces, recall, precision, scores[last], found, proposed - found
    )


def pairwise_iou(bboxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the IoU (M, N) of boxes (M, 4) with others (N, 4), all xyxy.

    It is 0 where boxes do not overlap, degenerate ones included.
    """
    low = np.maximum(bboxes[:, None, :2], others[None, :, :2])
    high = np.minimum(bboxes[:, None, 2:], others[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = (
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for boxes in (bboxes, others)
    )
    union = areas[:, None] + other_areas[None] - intersection
    # Without overlap the union may be 0 or negative.
    return np.divide(
        intersection, union, out=np.zeros_like(intersection), where=intersection > 0
    )
