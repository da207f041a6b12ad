"""The official WIDER FACE evaluation, to the bit; needs NumPy only.

What the official MATLAB tool really computes, and why ordinary ports differ from it:
its ground truth is int32, and MATLAB's arithmetic between int32 and double rounds to
int32, halves away from zero, and saturates.

Boxes
    A detection's corners are rounded where they meet a face, its own area is not.
    Widths, heights and areas take +1. The sum of the two areas is rounded, and so is
    the quotient intersection / union: an overlap is 0, 1, 2 ... (or the largest int32
    where the union is 0). A detection hits the face of the largest such overlap, the
    first in list order, if it is 1 or more. That is an IoU of 0.5 or more, but not
    the best one.

Matching
    Over all faces of the image, whatever the subset. A detection that hits a face
    outside the subset is no proposal. The first that hits a face of the subset
    recalls it; later ones stay proposals, i.e. false positives. Images without any
    face are passed over.

Curve
    At each threshold ``1 - t / 1000``, t = 1 ... 1000: precision = recalled faces /
    proposals, recall = recalled faces / faces of the subset in all images.

Scores
    Brought to [0, 1] by one minimum and one maximum over all images, in single
    precision.

Neither the order of the rows of an image nor that of the images matters, so there is
no loop over detections here: each has a level (the first threshold that counts it)
and a face (or none), and curves are counts of levels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .average_precision import voc_average_precision
from .wider_face_ground_truth import WIDERFaceGroundTruth

#: Thresholds of the curve, falling from 0.999 to 0.
THRESHOLDS = 1 - np.arange(1, 1001) / 1000

_INT32 = np.iinfo(np.int32)
# Up to here (pixels) nothing can saturate and single precision is good enough to
# sort out pairs of boxes that cannot match.
_TAME = 2.0**14
# Pairs that are looked at in one go: small enough for the processor's caches.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class WIDERFaceDetections:
    """Detections in a ground truth's images, image after image.

    Attributes:
        rows: Float64 (M, 5): x, y, w, h (pixels), score, in any order in an image.
        offsets: Int64 (N + 1,): image i has the rows ``offsets[i]:offsets[i + 1]``.
    """

    rows: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_images(cls, rows: Sequence[np.ndarray]) -> 'WIDERFaceDetections':
        """Build from one array (M_i, 5) an image, in the ground truth's order."""
        tables = [np.asarray(table, np.float64).reshape(-1, 5) for table in rows]
        counts = [len(table) for table in tables]
        return cls(
            np.concatenate([np.zeros((0, 5)), *tables]),
            np.concatenate(([0], np.cumsum(counts, dtype=np.int64))),
        )

    @property
    def image_index(self) -> np.ndarray:
        """Int64 (M,): the image of each row."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


class SubsetResult(NamedTuple):
    """Result on one subset.

    Attributes:
        ap: Average precision.
        num_faces: Faces to be found, in all images.
        precision: (1000,), NaN where nothing is detected yet.
        recall: (1000,), NaN if there is no face to be found.
    """

    ap: float
    num_faces: int
    precision: np.ndarray
    recall: np.ndarray


def evaluate_wider_face(
    predictions: WIDERFaceDetections | Mapping[str, np.ndarray],
    ground_truth: WIDERFaceGroundTruth,
) -> dict[str, SubsetResult]:
    """Evaluate as the official tool does, on each subset of the ground truth.

    Args:
        predictions: The detections in the order of the ground truth's images, or a
            mapping ``event/name`` -> (n, 5) rows x, y, w, h, score; images that it
            does not have are images without detections.
        ground_truth: As read by :func:`read_ground_truth`.

    Returns:
        Subset -> result. AP is 0 if nothing is detected, NaN if the subset is empty.

    Raises:
        ValueError: If the predictions have an image that the ground truth does not
            have, or another number of images.
    """
    detections = as_detections(predictions, ground_truth)
    levels = score_levels(detections)
    faces = match_official(detections, ground_truth)
    return {
        name: subset_curve(detections, ground_truth, levels, faces, in_subset)
        for name, in_subset in ground_truth.subsets.items()
    }


def as_detections(
    predictions: WIDERFaceDetections | Mapping[str, np.ndarray],
    ground_truth: WIDERFaceGroundTruth,
) -> WIDERFaceDetections:
    """Bring predictions into the order of the ground truth's images.

    Args:
        predictions: See :func:`evaluate_wider_face`.
        ground_truth: The ground truth.

    Returns:
        The detections.

    Raises:
        ValueError: See :func:`evaluate_wider_face`.
    """
    if not isinstance(predictions, WIDERFaceDetections):
        if unknown := sorted(set(predictions).difference(ground_truth.names)):
            raise ValueError(
                f'{len(unknown)} images are not in the ground truth: '
                f'{", ".join(unknown[:3])}{" ..." if len(unknown) > 3 else ""}'
            )
        nothing = np.zeros((0, 5))
        predictions = WIDERFaceDetections.from_images(
            [predictions.get(name, nothing) for name in ground_truth.names]
        )
    if len(predictions.offsets) != len(ground_truth.offsets):
        raise ValueError(
            f'detections in {len(predictions.offsets) - 1} images, ground truth of '
            f'{len(ground_truth)}'
        )
    return predictions


def normalize_scores(scores: np.ndarray) -> np.ndarray:
    """Bring all scores to [0, 1] as the official tool does, in single precision.

    The minimum starts at the largest normal float32, the maximum at the smallest;
    NaN is passed over. If the minimum rounds up to float32, the lowest detection gets
    a negative score and is never counted; if all scores are equal, they get NaN (or
    an infinity, if float32 cannot hold them).

    Args:
        scores: (M,), of all images together.

    Returns:
        Float64 (M,), each exactly a float32.
    """
    scores = np.asarray(scores, np.float64)
    limits = np.finfo(np.float32)
    with np.errstate(all='ignore'):
        high = np.fmax(limits.tiny, np.float32(np.fmax.reduce(scores, initial=-np.inf)))
        low = np.fmin(limits.max, np.float32(np.fmin.reduce(scores, initial=np.inf)))
        shifted = (scores - np.float64(low)).astype(np.float32)
        return (shifted / (high - low)).astype(np.float64)


def score_levels(detections: WIDERFaceDetections) -> np.ndarray:
    """The first threshold that counts each detection.

    Args:
        detections: The detections.

    Returns:
        Int64 (M,): index into :data:`THRESHOLDS`; 1000 = never counted.
    """
    scores = _effective_scores(detections)
    reached = np.searchsorted(THRESHOLDS[::-1], scores, side='right')
    return len(THRESHOLDS) - reached


def _effective_scores(detections: WIDERFaceDetections) -> np.ndarray:
    """Normalised scores, NaN replaced by the score that has the same effect.

    The tool sorts an image's rows by raw score, NaN first, and at each threshold
    counts all rows up to the last one that reaches it. So a normalised score of NaN
    counts as soon as one of the rows behind it does.
    """
    raw = detections.rows[:, 4]
    scores = normalize_scores(raw)
    bad = np.isnan(scores)
    if not bad.any():
        return scores
    for image in np.unique(detections.image_index[bad]):
        rows = slice(detections.offsets[image], detections.offsets[image + 1])
        keys = np.where(np.isnan(raw[rows]), np.inf, raw[rows])
        order = np.lexsort((~np.isnan(raw[rows]), -keys))
        behind = np.fmax.accumulate(scores[rows][order][::-1])[::-1]
        scores[rows][order] = np.where(np.isnan(behind), -np.inf, behind)
    return scores


def match_official(
    detections: WIDERFaceDetections, ground_truth: WIDERFaceGroundTruth
) -> np.ndarray:
    """The face that each detection hits by the official rule.

    Args:
        detections: The detections.
        ground_truth: The ground truth.

    Returns:
        Int64 (M,): row of ``ground_truth.bboxes``, -1 for none.
    """
    with np.errstate(all='ignore'):
        corners, areas = _detection_boxes(detections)
        corners = _to_int32(corners)
        gt_corners, gt_areas = _face_boxes(ground_truth)
        pairs = candidate_pairs(
            (corners, areas, detections.offsets),
            (gt_corners, gt_areas, ground_truth.offsets),
            0.5,
            np.float32,
        )
        overlap = _int32_overlap(
            gt_corners[:, pairs.faces],
            gt_areas[pairs.faces],
            corners[:, pairs.rows],
            areas[pairs.rows],
        )
    return best_faces(len(areas), pairs, overlap, 1.0)[0]


def match_real_iou(
    detections: WIDERFaceDetections, ground_truth: WIDERFaceGroundTruth, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The face that each detection overlaps best, without rounding; not official.

    Corners, +1 and the choice among all faces of the image are as in the official
    rule, but the IoU is a real number. (The official one is 0 or 1, so a threshold
    of 0.6 would be the same to it as one of 0.5.)

    Args:
        detections: The detections.
        ground_truth: The ground truth.
        least: Least IoU, above 0.

    Returns:
        Int64 (M,), row of ``ground_truth.bboxes`` or -1; float64 (M,), the IoU or 0.
    """
    with np.errstate(all='ignore'):
        corners, areas = _detection_boxes(detections)
        gt_corners, gt_areas = _face_boxes(ground_truth)
        pairs = candidate_pairs(
            (corners, areas, detections.offsets),
            (gt_corners, gt_areas, ground_truth.offsets),
            least,
            np.float64,
        )
        a, b = gt_corners[:, pairs.faces], corners[:, pairs.rows]
        width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]) + 1
        height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]) + 1
        overlap = width * height
        overlap /= gt_areas[pairs.faces] + areas[pairs.rows] - overlap
        overlap[~((width > 0) & (height > 0) & (overlap >= 0))] = 0  # NaN as well
    return best_faces(len(areas), pairs, overlap, least)


class Pairs(NamedTuple):
    """Pairs of a detection and a face of one image.

    Attributes:
        rows: Int64 (P,), rows of the detections.
        faces: Int64 (P,), rows of the ground truth.
    """

    rows: np.ndarray
    faces: np.ndarray


def best_faces(
    num_rows: int, pairs: Pairs, overlap: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best overlapping face of each detection, the first in list order of equals.

    Args:
        num_rows: Number of detections, M.
        pairs: The pairs that may matter.
        overlap: Overlap of each pair, (P,).
        least: Least overlap that counts.

    Returns:
        Int64 (M,), the face or -1; float64 (M,), the overlap or 0.
    """
    keep = overlap >= least
    rows, faces, overlap = pairs.rows[keep], pairs.faces[keep], overlap[keep]
    best = np.zeros(num_rows)
    np.maximum.at(best, rows, overlap)
    keep = overlap == best[rows]
    none = np.iinfo(np.int64).max
    first = np.full(num_rows, none)
    np.minimum.at(first, rows[keep], faces[keep])
    return np.where(first == none, -1, first), best


def subset_curve(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    levels: np.ndarray,
    faces: np.ndarray,
    in_subset: np.ndarray,
) -> SubsetResult:
    """Count a matching into the curve of one subset.

    Args:
        detections: The detections.
        ground_truth: The ground truth.
        levels: From :func:`score_levels`.
        faces: From :func:`match_official`, or another matching of this form.
        in_subset: Bool (G,), the faces to be found.

    Returns:
        The result.
    """
    counts = len(THRESHOLDS)
    is_proposal = proposals(detections, ground_truth, faces, in_subset)
    first = first_levels(levels, faces, len(in_subset), counts)[in_subset]
    proposed = np.bincount(levels[is_proposal], minlength=counts + 1)[:counts].cumsum()
    recalled = np.bincount(first, minlength=counts + 1)[:counts].cumsum()
    num_faces = int(np.count_nonzero(in_subset))
    with np.errstate(all='ignore'):
        precision = recalled / proposed
        recall = recalled / np.float64(num_faces)
    ap = voc_average_precision(recall, precision)
    return SubsetResult(ap, num_faces, precision, recall)


def proposals(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    faces: np.ndarray,
    in_subset: np.ndarray,
) -> np.ndarray:
    """Which detections take part in a subset.

    Args:
        detections: The detections.
        ground_truth: The ground truth.
        faces: The face that each detection hits, -1 for none.
        in_subset: Bool (G,), the faces to be found.

    Returns:
        Bool (M,): false for those that hit a face outside the subset, and in images
        without any face.
    """
    result = np.append(in_subset, True)[faces]  # -1: the appended entry
    empty = np.diff(ground_truth.offsets) == 0
    if empty.any():
        result &= ~empty[detections.image_index]
    return result


def first_levels(
    levels: np.ndarray, faces: np.ndarray, num_faces: int, never: int
) -> np.ndarray:
    """The first level at which each face is hit.

    Args:
        levels: Int (M,), of the detections.
        faces: The face that each detection hits, -1 for none.
        num_faces: Number of faces, G.
        never: Value for faces that are not hit.

    Returns:
        Int64 (G,).
    """
    first = np.full(num_faces, never, np.int64)
    hit = faces >= 0
    np.minimum.at(first, faces[hit], levels[hit])
    return first


def _detection_boxes(detections: WIDERFaceDetections) -> tuple[np.ndarray, np.ndarray]:
    """Corners x1, y1, x2, y2 (4, M) and areas (M,), in double precision."""
    x, y, w, h = np.ascontiguousarray(detections.rows[:, :4].T)
    corners = np.stack((x, y, x + w, y + h))
    areas = (corners[2] - x + 1) * (corners[3] - y + 1)
    return corners, areas


def _face_boxes(ground_truth: WIDERFaceGroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Corners (4, G) and areas (G,) by int32 arithmetic, held as float64."""
    x, y, w, h = ground_truth.bboxes.T.astype(np.float64)
    corners = np.stack((x, y, _saturate(x + w), _saturate(y + h)))
    width = _saturate(_saturate(corners[2] - x) + 1)
    height = _saturate(_saturate(corners[3] - y) + 1)
    return corners, _saturate(width * height)


def _int32_overlap(
    a: np.ndarray, a_area: np.ndarray, b: np.ndarray, b_area: np.ndarray
) -> np.ndarray:
    """Overlap of pairs of boxes as MATLAB's int32 arithmetic has it.

    All values are whole and held as float64: products may pass 2**53 and lose digits,
    but saturate anyway.

    Args:
        a: Corners of the faces, (4, P).
        a_area: Their areas, (P,).
        b: Rounded corners of the detections, (4, P).
        b_area: Their areas, not rounded, (P,).

    Returns:
        Float64 (P,), whole numbers.
    """
    width = _saturate(_saturate(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])) + 1)
    height = _saturate(_saturate(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])) + 1)
    intersection = _saturate(width * height)
    union = _saturate(_to_int32(a_area + b_area) - intersection)
    # x / 0 is an infinity here, the largest int32 in MATLAB and after _to_int32.
    overlap = _to_int32(intersection / (union + 0.0))
    overlap[(width <= 0) | (height <= 0)] = 0
    return overlap


def _saturate(values: np.ndarray) -> np.ndarray:
    """Whole numbers clipped to int32's range."""
    return np.clip(values, _INT32.min, _INT32.max)


def _to_int32(values: np.ndarray) -> np.ndarray:
    """MATLAB's int32(): halves away from zero, saturating, NaN to 0; as float64."""
    rest = _saturate(values)
    whole = np.trunc(rest)
    # Exact in each step, which trunc(values + 0.5) is not.
    rest -= whole
    rest *= 2
    whole += np.trunc(rest, out=rest)
    whole[np.isnan(whole)] = 0
    return whole


Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def candidate_pairs(
    detections: Boxes, faces: Boxes, least_iou: float, dtype: type
) -> Pairs:
    """Pairs of boxes of one image whose IoU may reach a value.

    With areas A and B, IoU >= t needs intersection >= t / (1 + t) * (A + B), which is
    cheap to test. Boxes far outside any image are not tested but taken.

    Args:
        detections: Corners (4, M) with x1, y1, x2, y2, areas (M,) and offsets
            (N + 1,) of the detections.
        faces: The same of the faces.
        least_iou: The IoU, t.
        dtype: Type to compute in: float32 for corners that are whole numbers,
            otherwise float64.

    Returns:
        All pairs that reach it, and some that do not.
    """
    share = least_iou / (1 + least_iou)
    # More than what rounding of the areas' sum (by 0.5) and dtype can take away.
    boxes = _prefilter_boxes(*detections[:2], share, dtype)
    gt_boxes = _prefilter_boxes(*faces[:2], share, dtype)
    rows, gts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    buffers = np.empty((3, 0), dtype)
    for row, end, gt, gt_end in _blocks(detections[2], faces[2]):
        shape = (gt_end - gt, end - row)
        size = shape[0] * shape[1]
        if buffers.shape[1] < size:
            buffers = np.empty((3, size), dtype)
        width, height, scratch = (buffer[:size].reshape(shape) for buffer in buffers)
        x1, y1, x2, y2, need = boxes[:, None, row:end]
        gt_x1, gt_y1, gt_x2, gt_y2, gt_need = gt_boxes[:, gt:gt_end, None]
        np.minimum(gt_x2, x2, out=width)
        width -= np.maximum(gt_x1, x1, out=scratch)
        np.maximum(width, 0, out=width)  # two negative sides are no overlap
        np.minimum(gt_y2, y2, out=height)
        height -= np.maximum(gt_y1, y1, out=scratch)
        width *= height
        found = np.flatnonzero(width >= np.add(gt_need, need, out=scratch))
        face, detection = np.divmod(found, shape[1])
        rows.append(detection + row)
        gts.append(face + gt)
    return Pairs(np.concatenate(rows), np.concatenate(gts))


def _prefilter_boxes(
    corners: np.ndarray, areas: np.ndarray, share: float, dtype: type
) -> np.ndarray:
    """(5, n): x1, y1, x2 + 1, y2 + 1 and the box's part of the needed intersection."""
    table = np.concatenate((corners, [areas * (share * (1 - 4e-6)) - 1]))
    table[2:4] += 1
    wild = ~np.all(np.abs(corners) <= _TAME, axis=0)
    table[:, wild] = 0
    table[4, wild] = -np.inf
    return table.astype(dtype)


def _blocks(
    offsets: np.ndarray, gt_offsets: np.ndarray
) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of rows and of faces that meet, not too many pairs at a time."""
    starts, gt_starts = offsets.tolist(), gt_offsets.tolist()
    for image in range(len(starts) - 1):
        row, end = starts[image : image + 2]
        gt, gt_end = gt_starts[image : image + 2]
        if gt == gt_end:
            continue
        step = max(_BLOCK // (gt_end - gt), 64)
        for start in range(row, end, step):
            yield start, min(start + step, end), gt, gt_end
