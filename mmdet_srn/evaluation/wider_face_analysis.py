"""Figures beyond easy, medium and hard, from the same matching; NumPy only.

Only the three APs and their curves are official. Everything here is ours: it keeps
the official matching (or, where an IoU is given, its rules with the real IoU in place
of the rounded one), and asks other questions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .face_ap import HEIGHT_BANDS
from .wider_face_eval import (
    SubsetResult,
    WIDERFaceDetections,
    match_official,
    match_real_iou,
    proposals,
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
    """AP on a group of faces.

    Attributes:
        ap: Average precision, NaN without faces.
        num_faces: Faces of the group.
    """

    ap: float
    num_faces: int


class WIDERFaceAnalysis(NamedTuple):
    """All figures of :func:`analyze_wider_face`.

    Attributes:
        false_positives: Subset -> recall -> number of false positives, None where
            the recall is not reached.
        ap_by_iou: Subset -> IoU threshold -> AP by the real IoU.
        ap_mean_iou: Subset -> mean AP over COCO's thresholds .50:.05:.95.
        base: The subset whose faces the groups are made of.
        ap_by_height: Height band -> AP.
        ap_by_attribute: Attribute -> value -> AP.
    """

    false_positives: dict[str, dict[float, int | None]]
    ap_by_iou: dict[str, dict[float, float]]
    ap_mean_iou: dict[str, float]
    base: str
    ap_by_height: dict[str, GroupAP]
    ap_by_attribute: dict[str, dict[str, GroupAP]]


def analyze_wider_face(
    detections: WIDERFaceDetections,
    ground_truth: WIDERFaceGroundTruth,
    base: str = 'hard',
) -> WIDERFaceAnalysis:
    """Compute all figures.

    In a group (height band, attribute value) the faces of ``base`` that belong to it
    are to be found, and all other faces are outside, as in an official subset:
    detections that hit them do not count. All other false positives count in every
    group, so the AP of a small group is low.

    Args:
        detections: The detections.
        ground_truth: The ground truth.
        base: Subset of which the groups are made. Defaults to 'hard', the largest.

    Returns:
        The figures.
    """
    levels = score_levels(detections)
    official = match_official(detections, ground_truth)
    nearest, iou = match_real_iou(detections, ground_truth, min(IOU_THRESHOLDS))

    def curve(faces: np.ndarray, in_subset: np.ndarray) -> SubsetResult:
        return subset_curve(detections, ground_truth, levels, faces, in_subset)

    def group(members: np.ndarray) -> GroupAP:
        result = curve(official, members & ground_truth.subsets[base])
        return GroupAP(result.ap, result.num_faces)

    ap_by_iou: dict[str, dict[float, float]] = {}
    for name, in_subset in ground_truth.subsets.items():
        ap_by_iou[name] = {
            threshold: curve(np.where(iou >= threshold, nearest, -1), in_subset).ap
            for threshold in IOU_THRESHOLDS
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
        ap_mean_iou={
            name: float(np.mean(list(aps.values()))) for name, aps in ap_by_iou.items()
        },
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
    """False positives at the highest threshold that reaches a recall.

    Each distinct score is a threshold, not just the 1000 of the curve. False
    positives are proposals that recall no face: those that hit none, and all but the
    first that hit the same one. A score of NaN is never reached.

    Args:
        detections: The detections.
        ground_truth: The ground truth.
        faces: The face that each detection hits, -1 for none.
        in_subset: Bool (G,), the faces to be found.
        recalls: Recalls, in (0, 1]. Defaults to the paper's.

    Returns:
        Recall -> number, None where the recall is not reached.
    """
    scores = detections.rows[:, 4]
    usable = ~np.isnan(scores)
    thresholds, levels = np.unique(-scores[usable], return_inverse=True)
    count = len(thresholds)
    is_proposal = proposals(detections, ground_truth, faces, in_subset)[usable]
    first = np.full(len(in_subset), count)
    hit = faces[usable] >= 0
    np.minimum.at(first, faces[usable][hit], levels[hit])
    first = first[in_subset]
    proposed = np.bincount(levels[is_proposal], minlength=count).cumsum()
    recalled = np.bincount(first, minlength=count + 1)[:count].cumsum()
    result: dict[float, int | None] = {}
    for recall in recalls:
        # The small number makes up for products such as 0.1 * 3 > 0.3.
        needed = recall * len(first) - 1e-9
        reached = int(np.searchsorted(recalled, needed))
        found = len(first) > 0 and reached < count
        result[recall] = int(proposed[reached] - recalled[reached]) if found else None
    return result
