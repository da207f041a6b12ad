"""AP of a face detector by face height, for any data set; needs NumPy only.

This is the common definition (greedy matching, real-valued IoU), not the official
WIDER FACE evaluation, which is in :mod:`.wider_face_eval`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .average_precision import voc_average_precision

#: All faces, and the height bands in pixels of the original image: half-open
#: [low, high), a face of exactly 16 pixels is in '16to32'. Keys serve as suffixes
#: of metric names.
HEIGHT_BANDS: dict[str, tuple[float, float]] = {
    'all': (-np.inf, np.inf),
    'lt16': (-np.inf, 16.0),
    '16to32': (16.0, 32.0),
    '32to96': (32.0, 96.0),
    'ge96': (96.0, np.inf),
}


@dataclass(frozen=True, slots=True)
class ImageFaces:
    """Detections and ground truth of one image, boxes as xyxy in pixels.

    Attributes:
        bboxes: Detected boxes, (D, 4).
        scores: Their scores, (D,).
        gt_bboxes: Annotated boxes, (G, 4).
        gt_ignored: Bool (G,), true for faces that neither count nor punish.
    """

    bboxes: np.ndarray
    scores: np.ndarray
    gt_bboxes: np.ndarray
    gt_ignored: np.ndarray


class FaceAP(NamedTuple):
    """AP of one height band.

    Attributes:
        ap: Area under the curve; NaN if the band has no face.
        num_faces: Faces that count.
        recall: (N,), non-decreasing, one point for each distinct score.
        precision: (N,).
        scores: The thresholds, (N,), falling.
    """

    ap: float
    num_faces: int
    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray


def evaluate_face_ap(
    images: Iterable[ImageFaces],
    iou_thr: float = 0.5,
    bands: Mapping[str, tuple[float, float]] = HEIGHT_BANDS,
) -> dict[str, FaceAP]:
    """Compute AP over all faces and by face height.

    In each image the detections choose in the order of their scores (rows of equal
    score in list order). Each takes the best overlapping face (IoU >= ``iou_thr``;
    the first in list order among equals) that counts and is still free, and is a
    true positive. One that finds none is left out of the count if it overlaps an
    ignored face, otherwise it is a false positive.

    In a height band the rule is that of COCO's area ranges, with the height in place
    of the area: faces outside the band are ignored, each for one detection only, and
    an unmatched detection whose own height is outside the band is left out. Faces
    that the annotation ignores do so for any number of detections, like COCO's
    crowds, though by IoU.

    Widths and heights are x2 - x1 and y2 - y1. The curve has a point for each
    distinct score, so the order of detections of equal score in different images is
    of no account; AP is the area under its envelope.

    Args:
        images: The images.
        iou_thr: Least IoU of a match. Defaults to 0.5.
        bands: Name -> [low, high) in pixels. Defaults to :data:`HEIGHT_BANDS`.

    Returns:
        Name -> result, in the order of ``bands``.
    """
    prepared = [_prepare(image, iou_thr) for image in images]
    return {name: _evaluate_band(prepared, *limits) for name, limits in bands.items()}


class _Prepared(NamedTuple):
    """One image, detections in falling order of score, with its candidate pairs.

    Attributes:
        scores: (D,), falling.
        heights: Heights of the detections, (D,).
        gt_heights: (G,).
        gt_ignored: Bool (G,).
        candidates: For each detection that overlaps a face enough: its row and
            the faces, best first.
    """

    scores: np.ndarray
    heights: np.ndarray
    gt_heights: np.ndarray
    gt_ignored: np.ndarray
    candidates: list[tuple[int, list[int]]]


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
        num_faces += int(np.count_nonzero(inside & ~image.gt_ignored))
        hit, counted = _match(image, inside)
        # What a face outside the band does not explain is judged by its own height.
        unexplained = counted & ~hit
        counted[unexplained] = (image.heights[unexplained] >= low) & (
            image.heights[unexplained] < high
        )
        scores.append(image.scores[counted])
        hits.append(hit[counted])
    return _curve(_concatenate(scores, float), _concatenate(hits, bool), num_faces)


def _match(image: _Prepared, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match one image's detections greedily.

    Args:
        image: The image.
        inside: Bool (G,), faces in the band.

    Returns:
        Bool arrays (D,): true positive; not explained by a face that is ignored.
    """
    hit = np.zeros(len(image.scores), bool)
    counted = np.ones(len(image.scores), bool)
    ignored = image.gt_ignored.tolist()
    counts = (inside & ~image.gt_ignored).tolist()
    taken = [False] * len(counts)
    for row, faces in image.candidates:
        free = [face for face in faces if ignored[face] or not taken[face]]
        face = next((face for face in free if counts[face]), None)
        if face is not None:
            hit[row] = True
        elif free:
            face = free[0]
            counted[row] = False
        else:
            continue
        taken[face] = True
    return hit, counted


def _curve(scores: np.ndarray, hits: np.ndarray, num_faces: int) -> FaceAP:
    order = np.argsort(-scores, kind='stable')
    scores, hits = scores[order], hits[order]
    # Only the last of a run of equal scores is a point that a threshold can reach.
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    found = np.cumsum(hits)[last]
    recall = found / num_faces if num_faces else np.full(len(found), np.nan)
    precision = found / (np.flatnonzero(last) + 1)
    ap = voc_average_precision(recall, precision) if num_faces else np.nan
    return FaceAP(ap, num_faces, recall, precision, scores[last])


def pairwise_iou(bboxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of each box with each other one.

    Args:
        bboxes: (M, 4), xyxy.
        others: (N, 4), xyxy.

    Returns:
        Float64 (M, N); 0 where two boxes do not overlap, degenerate ones among them.
    """
    low = np.maximum(bboxes[:, None, :2], others[None, :, :2])
    high = np.minimum(bboxes[:, None, 2:], others[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    union = _area(bboxes)[:, None] + _area(others)[None] - intersection
    # No overlap has no need of a union, which may then be 0 or negative.
    return np.divide(
        intersection, union, out=np.zeros_like(intersection), where=intersection > 0
    )


def _area(bboxes: np.ndarray) -> np.ndarray:
    return (bboxes[:, 2] - bboxes[:, 0]) * (bboxes[:, 3] - bboxes[:, 1])


def _concatenate(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])
