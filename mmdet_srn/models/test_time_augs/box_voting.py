"""Box voting: overlapping detections are averaged instead of suppressed."""

import numpy as np


def box_voting(
    bboxes: np.ndarray,
    scores: np.ndarray,
    iou_thr: float = 0.5,
    keep_singles: bool = False,
    max_num: int = 750,
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the detections of one class, as SRN's released code does.

    The best remaining box and all that overlap it by ``iou_thr`` or more form a
    cluster. Its box is their mean, weighted with the scores, its score the best one.
    This goes on until no box is left. Of equal scores the first in list order leads.

    A cluster of one box is dropped, as no other scale has seen it. So never apply this
    to the detections of a single scale: nearly nothing would be left.

    Args:
        bboxes: (N, 4), xyxy in pixels.
        scores: (N,). Boxes whose score is not above 0 take no part.
        iou_thr: Least IoU with the best box, with areas (x2 - x1 + 1) * (y2 - y1 + 1)
            (released code).
        keep_singles: Whether to keep clusters of one box as they are (released code:
            no).
        max_num: Largest number of clusters to return, the best ones (released code).

    Returns:
        Boxes (K, 4) and scores (K,) in float64, best first.
    """
    scores = np.asarray(scores, np.float64).reshape(-1)
    bboxes = np.asarray(bboxes, np.float64).reshape(-1, 4)
    order = np.argsort(-scores, kind='stable')
    order = order[scores[order] > 0]
    # One row per coordinate: the loop reads each as a whole.
    rest, scores = bboxes[order].T.copy(), scores[order]
    areas = _extent(rest[0], rest[2]) * _extent(rest[1], rest[3])
    merged = np.zeros((min(max_num, len(scores)), 5))
    num = 0
    while len(scores) and num < max_num:
        inter = _extent(
            np.maximum(rest[0], rest[0, 0]), np.minimum(rest[2], rest[2, 0])
        )
        inter *= _extent(
            np.maximum(rest[1], rest[1, 0]), np.minimum(rest[3], rest[3, 0])
        )
        # Where boxes overlap, the union is positive.
        iou = np.divide(
            inter, areas[0] + areas - inter, out=np.zeros_like(inter), where=inter > 0
        )
        others = iou < iou_thr
        others[0] = False  # even if the box has no area
        members = ~others
        if keep_singles or np.count_nonzero(members) > 1:
            weights = scores[members]
            merged[num, :4] = rest[:, members] @ weights / weights.sum()
            merged[num, 4] = scores[0]
            num += 1
        rest, areas, scores = rest[:, others], areas[others], scores[others]
    return merged[:num, :4], merged[:num, 4]


def _extent(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.maximum(high - low + 1, 0)
