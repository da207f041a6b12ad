"""The official WIDER FACE evaluation, to the bit; needs NumPy only.

The official ground truth is int32, and MATLAB's arithmetic between int32 and double
rounds to int32 (halves away from zero) and saturates. Ordinary ports ignore this.

Boxes
    A detection's corners are rounded before they meet a face; its own area is not.
    Widths, heights and areas take +1. The sum of the two areas is rounded, and so is
    the quotient intersection / union, so an overlap is 0, 1, 2 ... (the largest int32
    where the union is 0). A detection hits the face with the largest rounded overlap,
    the first in list order, if that is 1 or more: an IoU of at least 0.5, but not
    necessarily the best one.

Matching
    Over all faces of the image, whatever the subset. A detection that hits a face
    outside the subset is not a proposal. The first that hits a face of the subset
    recalls it; later ones remain proposals, i.e. false positives. Images without any
    face are skipped.

Curve
    At each threshold ``1 - t / 1000``, t = 1 ... 1000: precision = recalled faces /
    proposals, recall = recalled faces / faces of the subset in all images.

Scores
    Scaled to [0, 1] by the minimum and maximum over all images, in single precision.

Neither the order of an image's rows nor that of the images matters, so there is no
loop over detections: each has a level (the first threshold that counts it) and a face
(or none), and curves are counts of levels.
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
# Up to here (pixels) nothing saturates, and single precision is enough to rule out
# pairs of boxes that cannot match.
_TAME = 2.0**14
# Pairs tested at once: few enough for the processor's caches.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class WIDERFaceDetections:
    """Detections in a ground truth's images: rows of image i from offsets[i] on."""

    rows: np.ndarray  # float64 (M, 5): x, y, w, h (pixels), score, in any order
    offsets: np.ndarray  # int64 (N + 1,)

    @classmethod
    def from_images(cls, rows: Sequence[np.ndarray]) -> 'WIDERFaceDetections':
        """Build from one array (M_i, 5) per image, in the ground truth's order."""
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
    """Result on one subset."""

    ap: float
    num_faces: int  # to be found, in all images
    precision: np.ndarray  # (1000,), NaN where nothing is detected yet
    recall: np.ndarray  # (1000,), NaN if there is no face to be found


def evaluate_wider_face(
    predictions: WIDERFaceDetections | Mapping[str, np.ndarray],
    ground_truth: WIDERFaceGroundTruth,
) -> dict[str, SubsetResult]:
    """Evaluate as the official tool does, on each subset of the ground truth.

    Args:
        predictions: Detections in the ground truth's images, or ``event/name`` -> (n,
            5) rows x, y, w, h, score; missing images have no detections.
        ground_truth: As read by :func:`read_ground_truth`.

    Returns:
        Subset -> result. AP is 0 if nothing is detected, NaN if the subset is empty.

    Raises:
        ValueError: If images are unknown, or their number differs.
    """
    detections = predictions
    if not isinstance(detections, WIDERFaceDetections):
        ground_truth.check_names(predictions)
        nothing = np.zeros((0, 5))
        detections = WIDERFaceDetections.from_images(
            [predictions.get(name, nothing) for name in ground_truth.names]
        )
    if len(detections.offsets) != len(ground_truth.offsets):
        raise ValueError(
            f'detections in {len(detections.offsets) - 1} images, ground truth of '
            f'{len(ground_truth)}'
        )
    levels = score_levels(detections)
    faces = match_official(detections, ground_truth)
    return {
        name: subset_curve(detections, ground_truth, levels, faces, in_subset)
        for name, in_subset in ground_truth.subsets.items()
    }


def normalize_scores(scores: np.ndarray) -> np.ndarray:
    """Scale the scores (M,) of all images to [0, 1], in single precision.

    The minimum starts at the largest normal float32, the maximum at the smallest;
    NaN is ignored. If the minimum rounds up to float32, the lowest detection gets a
    negative score and is never counted; if all scores are equal, they become NaN (or
    infinite, if float32 cannot hold them).
    """
    scores = np.asarray(scores, np.float64)
    limits = np.finfo(np.float32)
    with np.errstate(all='ignore'):
        high = np.fmax(limits.tiny, np.float32(np.fmax.reduce(scores, initial=-np.inf)))
        low = np.fmin(limits.max, np.float32(np.fmin.reduce(scores, initial=np.inf)))
        shifted = (scores - np.float64(low)).astype(np.float32)
        return (shifted / (high - low)).astype(np.float64)


def score_levels(detections: WIDERFaceDetections) -> np.ndarray:
    """Index (M,) of the first threshold that counts each detection; 1000 for none."""
    scores = _effective_scores(detections)
    reached = np.searchsorted(THRESHOLDS[::-1], scores, side='right')
    return len(THRESHOLDS) - reached


def _effective_scores(detections: WIDERFaceDetections) -> np.ndarray:
    """Normalize scores and replace NaN by the score that has the same effect.

    The tool sorts an image's rows by raw score, NaN first, and at each threshold
    counts all rows up to the last one that reaches it. So a normalized score of NaN
    counts as soon as one of the rows behind it does.
    """
    raw = detections.rows[:, 4]
    scores = normalize_scores(raw)
    bad = np.isnan(scores)
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
    """Match by the official rule: int64 (M,), the face each detection hits or -1."""
    return _match(detections, ground_truth, 0.5, official=True)[0]


def match_real_iou(
    detections: WIDERFaceDetections, ground_truth: WIDERFaceGroundTruth, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match each detection to the face it overlaps best by the real IoU; not official.

    Corners, +1 and the choice among all faces of the image are as in the official rule,
    but nothing is rounded, which thresholds (``least``) other than 0.5 need.

    Returns:
        Int64 (M,), row of ``ground_truth.bboxes`` or -1; float64 (M,), the IoU or 0.
    """
    return _match(detections, ground_truth, least, official=False)


def _match(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    least_iou: float,
    official: bool,
) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all='ignore'):
        corners, areas = _detection_boxes(detections)
        if official:
            corners = _to_int32(corners)
        gt_corners, gt_areas = _face_boxes(ground_truth)
        rows, faces = candidate_pairs(
            (corners, areas, detections.offsets),
            (gt_corners, gt_areas, ground_truth.offsets),
            least_iou,
            np.float32 if official else np.float64,
        )
        overlap = (_int32_overlap if official else _real_iou)(
            gt_corners[:, faces], gt_areas[faces], corners[:, rows], areas[rows]
        )
    keep = overlap >= (1.0 if official else least_iou)
    rows, faces, overlap = rows[keep], faces[keep], overlap[keep]
    best = np.zeros(len(areas))
    np.maximum.at(best, rows, overlap)
    keep = overlap == best[rows]
    none = np.iinfo(np.int64).max
    first = np.full(len(areas), none)  # in list order, of equals
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
        levels: From :func:`score_levels`, (M,).
        faces: The face that each detection hits or -1, (M,).
        in_subset: Bool (G,), the faces to be found.
    """
    proposed, recalled = count_by_level(
        detections, ground_truth, levels, len(THRESHOLDS), faces, in_subset
    )
    num_faces = int(np.count_nonzero(in_subset))
    with np.errstate(all='ignore'):
        precision = recalled / proposed
        recall = recalled / np.float64(num_faces)
    ap = voc_average_precision(recall, precision)
    return SubsetResult(ap, num_faces, precision, recall)


def count_by_level(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    levels: np.ndarray,
    num_levels: int,
    faces: np.ndarray,
    in_subset: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Count proposals and recalled faces up to each level, (num_levels,) each.

    As in :func:`subset_curve`; a level of ``num_levels`` is never counted.
    """
    is_proposal = np.append(in_subset, True)[faces]  # -1: the appended entry
    empty = np.diff(ground_truth.offsets) == 0
    is_proposal &= ~empty[detections.image_index]
    first = np.full(len(in_subset), num_levels, np.int64)
    hit = faces >= 0
    np.minimum.at(first, faces[hit], levels[hit])
    proposed, recalled = (
        np.bincount(found, minlength=num_levels + 1)[:num_levels].cumsum()
        for found in (levels[is_proposal], first[in_subset])
    )
    return proposed, recalled


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
    """Round overlaps (P,) of faces ``a`` and detections ``b``, in int32 arithmetic.

    Corners are (4, P), areas (P,). All but the detections' areas are whole numbers
    held as float64: products may pass 2**53 and lose digits, but saturate anyway.
    """
    width = _saturate(_saturate(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])) + 1)
    height = _saturate(_saturate(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])) + 1)
    intersection = _saturate(width * height)
    union = _saturate(_to_int32(a_area + b_area) - intersection)
    # x / 0 is infinite here, the largest int32 in MATLAB and after _to_int32.
    overlap = _to_int32(intersection / (union + 0.0))
    overlap[(width <= 0) | (height <= 0)] = 0
    return overlap


def _real_iou(
    a: np.ndarray, a_area: np.ndarray, b: np.ndarray, b_area: np.ndarray
) -> np.ndarray:
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]) + 1
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]) + 1
    iou = width * height
    iou /= a_area + b_area - iou
    iou[~((width > 0) & (height > 0) & (iou >= 0))] = 0  # NaN as well
    return iou


def _saturate(values: np.ndarray) -> np.ndarray:
    """Clip whole numbers to int32's range."""
    return np.clip(values, _INT32.min, _INT32.max)


def _to_int32(values: np.ndarray) -> np.ndarray:
    """Apply MATLAB's int32(), held as float64: halves away from zero, NaN to 0."""
    rest = _saturate(values)
    whole = np.trunc(rest)
    # Each step is exact, unlike trunc(values + 0.5).
    rest -= whole
    rest *= 2
    whole += np.trunc(rest, out=rest)
    whole[np.isnan(whole)] = 0
    return whole


Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def candidate_pairs(
    detections: Boxes, faces: Boxes, least_iou: float, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of boxes of one image whose IoU may reach a value.

    With areas A and B, IoU >= t needs intersection >= t / (1 + t) * (A + B), which is
    cheap to test. Boxes far outside any image are kept untested.

    Args:
        detections: Corners x1, y1, x2, y2 (4, M), areas (M,) and offsets (N + 1,).
        faces: The same of the faces.
        least_iou: The IoU, t.
        dtype: Type to compute in: float32 for whole-numbered corners, else float64.

    Returns:
        Rows of detections and of faces, int64 (P,) each: all pairs that reach the IoU,
        and some that do not.
    """
    share = least_iou / (1 + least_iou)
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
    return np.concatenate(rows), np.concatenate(gts)


def _prefilter_boxes(
    corners: np.ndarray, areas: np.ndarray, share: float, dtype: type
) -> np.ndarray:
    """(5, n): x1, y1, x2 + 1, y2 + 1 and the box's part of the needed intersection."""
    # The margin exceeds what rounding of the areas' sum (by 0.5) and dtype can lose.
    table = np.concatenate((corners, [areas * (share * (1 - 4e-6)) - 1]))
    table[2:4] += 1
    wild = ~np.all(np.abs(corners) <= _TAME, axis=0)
    table[:, wild] = 0
    table[4, wild] = -np.inf
    return table.astype(dtype)


def _blocks(
    offsets: np.ndarray, gt_offsets: np.ndarray
) -> Iterator[tuple[int, int, int, int]]:
    """Yield ranges of rows and of faces of one image, few enough pairs at a time."""
    starts, gt_starts = offsets.tolist(), gt_offsets.tolist()
    for image in range(len(starts) - 1):
        row, end = starts[image : image + 2]
        gt, gt_end = gt_starts[image : image + 2]
        if gt == gt_end:
            continue
        step = max(_BLOCK // (gt_end - gt), 64)
        for start in range(row, end, step):
            yield start, min(start + step, end), gt, gt_end
