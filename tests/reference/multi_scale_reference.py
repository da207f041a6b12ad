"""SRN's multi-scale test as srn.md states it, in plain Python loops.

Boxes are (x1, y1, x2, y2) in pixels, rows are (x1, y1, x2, y2, score).
"""

import math
from fractions import Fraction

import cv2
import numpy as np


def scale_list(height, width, max_size):
    """(factors of one resize after the other, flip, filter) of each pass."""
    ratio = Fraction(max_size * max_size, height * width)
    last = math.sqrt(ratio)
    if ratio <= 1:
        return [
            ((last,), False, None),
            ((last,), True, None),
            ((last, 0.75), False, 'big'),
            ((last, 0.5), False, 'big'),
        ]
    passes = [((), False, None), ((), True, None), ((0.5,), False, 'big')]
    times = 0
    while Fraction(9, 4) ** (times + 1) <= ratio:
        times += 1
    for t in range(1, times + 1):
        passes.append(((1.5**t,), False, 'small'))
    passes.append(((last,), False, 'small'))
    return passes


def resize(image, factor):
    height, width = image.shape[:2]
    new = [round(height * factor), round(width * factor)]  # half to even
    if min(new) == 0:
        return cv2.resize(image, (max(new[1], 1), max(new[0], 1)))
    resized = cv2.resize(image, None, fx=factor, fy=factor)
    assert list(resized.shape[:2]) == new
    return resized


def counts(box, size_filter):
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    if size_filter == 'big':
        return max(width, height) > 30
    if size_filter == 'small':
        return min(width, height) < 100
    return True


def flip_back(box, width):
    return (width - box[2] - 1, box[1], width - box[0] - 1, box[3])


def scale_back(box, scale):
    return tuple((x - (scale - 1) / 2) / scale for x in box)


def iou_plus_one(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return w * h / (area_a + area_b - w * h)


def vote(rows, iou_thr=0.5, keep_singles=False, max_num=750):
    rest = sorted(rows, key=lambda row: -row[4])  # stable: first come, first served
    voted = []
    while rest:
        best = rest[0]
        cluster, others = [best], []
        for row in rest[1:]:
            near = iou_plus_one(best, row) >= iou_thr
            (cluster if near else others).append(row)
        rest = others
        if len(cluster) == 1 and not keep_singles:
            continue
        total = sum(row[4] for row in cluster)
        box = [sum(row[i] * row[4] for row in cluster) / total for i in range(4)]
        voted.append((*box, best[4]))
    return voted[:max_num]


def multi_scale_test(detect, image, max_size, keep_singles=False, max_num=750):
    """All of it; ``detect`` turns an image (H, W, 3) into rows."""
    rows = []
    for factors, flip, size_filter in scale_list(*image.shape[:2], max_size):
        view, scale = image, 1.0
        for factor in factors:
            view = resize(view, factor)
            scale *= factor
        if flip:
            view = cv2.flip(view, 1)
        for *box, score in detect(view):
            if flip:
                box = flip_back(box, view.shape[1])
            box = scale_back(box, scale)
            if counts(box, size_filter):
                rows.append((*box, score))
    return np.array(vote(rows, 0.5, keep_singles, max_num)).reshape(-1, 5)
