"""Figures beyond easy, medium and hard, from the same matching; NumPy only.

None of them is official. All use the official matching or, where an IoU is given, its
rules with the real IoU instead of the rounded one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .face_ap import HEIGHT_BANDS
from .wider_face_eval import (
    SubsetResult,
    WIDERFaceDetections,
    count_by_level,
    match_official,
    match_real_iou,
    score_levels,
    subset_curve,
)
from .wider_face_ground_truth import WIDERFaceGroundTruth

#: Recalls of the paper's Table 3.
RECALLS = (0.1, 0.3, 0.5, 0.8, 0.9, 0.95)
#: COCO's ten IoU thresholds; the paper's Table 5 has 0.5, 0.6, 0.7 and 0.8.
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
#: What the annotation's numbers mean, from the data set's readme.
ATTRIBUTE_VALUES = {
    'blur': ('clear', 'normal', 'heavy'),
    'expression': ('typical', 'exaggerated'),
    'illumination': ('normal', 'extreme'),
    'invalid': ('valid', 'invalid'),
    'occlusion': ('none', 'partial', 'heavy'),
    'pose': ('typical', 'atypical'),
}


class GroupAP(NamedTuple):
    """AP on a group of faces, NaN without faces."""

    ap: float
    num_faces: int


class WIDERFaceAnalysis(NamedTuple):
    """All figures of :func:`analyze_wider_face`; the first three by subset."""

    false_positives: dict[str, dict[float, int | None]]  # by recall, None: not reached
    ap_by_iou: dict[str, dict[float, float]]  # by threshold of the real IoU
    ap_mean_iou: dict[str, float]  # over COCO's thresholds .50:.05:.95
    base: str  # the subset whose faces form the groups
    ap_by_height: dict[str, GroupAP]  # by height band
    ap_by_attribute: dict[str, dict[str, GroupAP]]  # by attribute and value


def analyze_wider_face(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    base: str = 'hard',
) -> WIDERFaceAnalysis:
    """Compute all figures.

    In a group (height band, attribute value) the faces of the subset ``base`` that
    belong to it are to be found; detections that hit any other face do not count, as in
    an official subset. All other false positives count in every group, so the AP of a
    small group is low.
    """
    levels = score_levels(detections)
    official = match_official(detections, ground_truth)
    nearest, iou = match_real_iou(detections, ground_truth, min(IOU_THRESHOLDS))

    def curve(faces: np.ndarray, in_subset: np.ndarray) -> SubsetResult:
        return subset_curve(detections, ground_truth, levels, faces, in_subset)

    def group(members: np.ndarray) -> GroupAP:
        result = curve(official, members & ground_truth.subsets[base])
        return GroupAP(result.ap, result.num_faces)

    ap_by_iou = {
        name: {
            threshold: curve(np.where(iou >= threshold, nearest, -1), in_subset).ap
            for threshold in IOU_THRESHOLDS
        }
        for name, in_subset in ground_truth.subsets.items()
    }
    heights = ground_truth.bboxes[:, 3]
    return WIDERFaceAnalysis(
        false_positives={
            name: false_positives_at_recall(
                detections, ground_truth, official, in_subset
            )
            for name, in_subset in ground_truth.subsets.items()
        },
        ap_by_iou=ap_by_iou,
        ap_mean_iou={n: float(np.mean([*a.values()])) for n, a in ap_by_iou.items()},
        base=base,
        ap_by_height={
            name: group((heights >= low) & (heights < high))
            for name, (low, high) in HEIGHT_BANDS.items()
        },
        ap_by_attribute={
            attribute: {
                value: group(values == number)
                for number, value in enumerate(ATTRIBUTE_VALUES[attribute])
            }
            for attribute, values in ground_truth.attributes.items()
        },
    )


def false_positives_at_recall(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    faces: np.ndarray,
    in_subset: np.ndarray,
    recalls: Sequence[float] = RECALLS,
) -> dict[float, int | None]:
    """Count the false positives at the highest threshold that reaches a recall.

    Each distinct score is a threshold, not just the 1000 of the curve; NaN never
    counts. False positives are proposals that recall no face: those that hit none, and
    all but the first that hit the same one. ``faces`` is the face that each detection
    hits or -1 (M,).

    Returns:
        Recall -> number, None if the recall is not reached.
    """
    scores = detections.rows[:, 4]
    usable = ~np.isnan(scores)
    thresholds, inverse = np.unique(-scores[usable], return_inverse=True)
    count = len(thresholds)
    levels = np.full(len(scores), count)  # NaN: never counted
    levels[usable] = inverse
    proposed, recalled = count_by_level(
        detections, ground_truth, levels, count, faces, in_subset
    )
    num_faces = int(np.count_nonzero(in_subset))
    result: dict[float, int | None] = {}
    for recall in recalls:
        # The small number makes up for products such as 0.1 * 3 > 0.3.
        reached = int(np.searchsorted(recalled, recall * num_faces - 1e-9))
        found = num_faces > 0 and reached < count
        result[recall] = int(proposed[reached] - recalled[reached]) if found else None
    return result
