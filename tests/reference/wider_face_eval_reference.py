"""The official WIDER FACE evaluation, one step of the MATLAB tool after the other.

Plain loops over Python numbers, with MATLAB's int32 and single made explicit. Images
are numbered through; ``predictions[i]`` is a list of rows x, y, w, h, score.
"""

import itertools
import math

import numpy as np

INTMAX, INTMIN = 2**31 - 1, -(2**31)


def saturate(value):
    return max(INTMIN, min(INTMAX, value))


def int32(value):
    """int32(double): half away from zero, saturating, NaN to 0."""
    if math.isnan(value):
        return 0
    if math.isinf(value):
        return INTMAX if value > 0 else INTMIN
    whole = math.floor(abs(value))
    if abs(value) - whole >= 0.5:
        whole += 1
    return saturate(whole if value >= 0 else -whole)


def divide(a, b):
    """a ./ b of int32."""
    if b == 0:
        return 0 if a == 0 else (INTMAX if a > 0 else INTMIN)
    quotient = (2 * abs(a) + abs(b)) // (2 * abs(b))
    return saturate(quotient if (a < 0) == (b < 0) else -quotient)


def boxoverlap(face, box):
    """face: four int32 corners; box: four double corners."""
    x1 = max(face[0], int32(box[0]))
    y1 = max(face[1], int32(box[1]))
    x2 = min(face[2], int32(box[2]))
    y2 = min(face[3], int32(box[3]))
    w = saturate(saturate(x2 - x1) + 1)
    h = saturate(saturate(y2 - y1) + 1)
    inter = saturate(w * h)
    face_area = saturate(
        saturate(saturate(face[2] - face[0]) + 1)
        * saturate(saturate(face[3] - face[1]) + 1)
    )
    box_area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    union = saturate(int32(face_area + box_area) - inter)
    overlap = divide(inter, union)
    return 0 if w <= 0 or h <= 0 else overlap


def sort_rows(rows):
    """Descending by score, NaN first, rows of equal score in their order."""
    key = [(0, 0.0) if math.isnan(row[4]) else (1, -row[4]) for row in rows]
    return [rows[i] for i in sorted(range(len(rows)), key=key.__getitem__)]


def norm_score(predictions):
    high = np.finfo(np.float32).tiny
    low = np.finfo(np.float32).max
    with np.errstate(all='ignore'):
        for row in itertools.chain.from_iterable(predictions):
            if not math.isnan(row[4]):
                high = max(high, np.float32(row[4]))
                low = min(low, np.float32(row[4]))
        normed = [[list(row) for row in rows] for rows in predictions]
        for row in itertools.chain.from_iterable(normed):
            shifted = np.float32(np.float64(row[4]) - np.float64(low))
            row[4] = float(shifted / (high - low))
    return normed


def image_evaluation(rows, faces, in_subset):
    recalled = [0] * len(faces)
    recall, proposal = [], []
    face_corners = [(x, y, saturate(x + w), saturate(y + h)) for x, y, w, h in faces]
    for x, y, w, h, _ in rows:
        overlaps = [boxoverlap(face, (x, y, x + w, y + h)) for face in face_corners]
        best = overlaps.index(max(overlaps))
        proposal.append(1)
        if overlaps[best] >= 0.5:
            if not in_subset[best]:
                recalled[best] = -1
                proposal[-1] = -1
            elif recalled[best] == 0:
                recalled[best] = 1
        recall.append(recalled.count(1))
    return recall, proposal


def image_pr_info(rows, recall, proposal):
    info = []
    for t in range(1, 1001):
        threshold = 1 - t / 1000
        last = next(
            (i for i in range(len(rows) - 1, -1, -1) if rows[i][4] >= threshold), None
        )
        if last is None:
            info.append((0, 0))
        else:
            info.append((proposal[: last + 1].count(1), recall[last]))
    return info


def voc_ap(recall, precision):
    recall = [0.0, *recall, 1.0]
    precision = [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        if math.isnan(precision[i]) or precision[i] < precision[i + 1]:
            precision[i] = precision[i + 1]
    return sum(
        (recall[i] - recall[i - 1]) * precision[i]
        for i in range(1, len(recall))
        if recall[i] != recall[i - 1]
    )


def evaluate(predictions, faces, subset):
    """Curve and AP of one subset.

    Args:
        predictions: For each image a list of rows (x, y, w, h, score), floats.
        faces: For each image a list of (x, y, w, h), ints.
        subset: For each image the rows (from 0) of the faces to be found.

    Returns:
        AP, precision (1000 values), recall (1000 values).
    """
    predictions = norm_score([sort_rows(rows) for rows in predictions])
    proposals, recalled, num_faces = [0] * 1000, [0] * 1000, 0
    for rows, image_faces, keep in zip(predictions, faces, subset, strict=True):
        num_faces += len(keep)
        if not image_faces or not rows:
            continue
        in_subset = [i in keep for i in range(len(image_faces))]
        recall, proposal = image_evaluation(rows, image_faces, in_subset)
        for t, (p, r) in enumerate(image_pr_info(rows, recall, proposal)):
            proposals[t] += p
            recalled[t] += r
    precision = [
        r / p if p else math.nan for p, r in zip(proposals, recalled, strict=True)
    ]
    recall = [r / num_faces if num_faces else math.nan for r in recalled]
    return voc_ap(recall, precision), precision, recall
