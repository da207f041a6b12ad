"""SRN's head after the paper, in NumPy with plain loops and float64.

Slow and literal on purpose: the package is held against it. Maps are
(A * C, H, W) arrays of one image, one per level; boxes are xyxy in pixels.
"""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


def grid_anchors(map_sizes, strides, scales=(2, 2 * 2**0.5), ratio=1.25):
    """Rounded anchors of each level, (H * W * A, 4), scale fastest."""
    levels = []
    for (height, width), stride in zip(map_sizes, strides, strict=True):
        base_w = round(math.sqrt(stride * stride / ratio))
        base_h = round(base_w * ratio)
        boxes = []
        for y in range(height):
            for x in range(width):
                cx = (stride - 1) / 2 + x * stride
                cy = (stride - 1) / 2 + y * stride
                for scale in scales:
                    dx, dy = (base_w * scale - 1) / 2, (base_h * scale - 1) / 2
                    boxes.append((cx - dx, cy - dy, cx + dx, cy + dy))
        levels.append(np.array(boxes, dtype=np.float64).reshape(-1, 4))
    return levels


def rows(level_map, channels):
    """Lay a map (A * C, H, W) out as (H * W * A, C)."""
    num, height, width = level_map.shape
    out = []
    for y in range(height):
        for x in range(width):
            for a in range(num // channels):
                out.append(level_map[a * channels : (a + 1) * channels, y, x])
    return np.array(out, dtype=np.float64).reshape(-1, channels)


def encode(prior, box):
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    bw, bh = box[2] - box[0], box[3] - box[1]
    return np.array(
        [
            ((box[0] + box[2]) - (prior[0] + prior[2])) / 2 / pw,
            ((box[1] + box[3]) - (prior[1] + prior[3])) / 2 / ph,
            math.log(bw / pw),
            math.log(bh / ph),
        ]
    )


def decode(prior, delta):
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    cx = (prior[0] + prior[2]) / 2 + delta[0] * pw
    cy = (prior[1] + prior[3]) / 2 + delta[1] * ph
    limit = abs(math.log(16 / 1000))  # the coder's guard against overflow
    w = pw * math.exp(min(max(delta[2], -limit), limit))
    h = ph * math.exp(min(max(delta[3], -limit), limit))
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def iou(a, b, plus_one=False):
    extra = 1 if plus_one else 0
    w = min(a[2], b[2]) - max(a[0], b[0]) + extra
    h = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if w <= 0 or h <= 0:
        return 0.0
    area_a = (a[2] - a[0] + extra) * (a[3] - a[1] + extra)
    area_b = (b[2] - b[0] + extra) * (b[3] - b[1] + extra)
    return w * h / (area_a + area_b - w * h)


def match(priors, faces, positive, negative):
    """Face index of each prior; -1 background, -2 between the thresholds."""
    out = []
    for prior in priors:
        overlaps = [iou(prior, face) for face in faces]
        best = max(overlaps, default=0.0)
        if best >= positive and overlaps:
            out.append(overlaps.index(best))
        elif best < negative:
            out.append(-1)
        else:
            out.append(-2)
    return out


def focal(logits, label, alpha=0.25, gamma=2.0):
    """Focal loss of one anchor over its classes; label C is background."""
    total = 0.0
    for c, p in enumerate(sigmoid(logits)):
        if c == label:
            total -= alpha * (1 - p) ** gamma * math.log(p)
        else:
            total -= (1 - alpha) * p**gamma * math.log(1 - p)
    return total


def smooth_l1(x, target, beta=1 / 9):
    total = 0.0
    for diff in np.abs(np.asarray(x) - np.asarray(target)):
        total += 0.5 * diff**2 / beta if diff < beta else diff - 0.5 * beta
    return total


def delta_loss(prior, delta, face):
    """Smooth L1 of the deltas."""
    return smooth_l1(delta, encode(prior, face))


def diou_loss(prior, delta, face):
    """1 - IoU, plus the centres' distance by the diagonal of both, squared."""
    box = decode(prior, delta)
    apart = ((box[:2] + box[2:] - face[:2] - face[2:]) / 2) ** 2
    around = np.maximum(box[2:], face[2:]) - np.minimum(box[:2], face[:2])
    return 1 - iou(box, face) + apart.sum() / (around**2).sum()


def dropped(first_logits, theta):
    """The filter: first-step negative confidence of the best class > theta."""
    return 1 - sigmoid(first_logits).max() > theta


def two_step_losses(
    images,
    faces,
    labels,
    strides,
    stc_levels,
    str_levels,
    num_classes,
    theta=0.99,
    filter_positives=False,
    bbox_loss=delta_loss,
):
    """Every loss of a batch.

    ``images`` holds per image a dict of ``first_cls`` and ``first_reg`` (level
    to map), ``cls`` and ``reg`` (maps of all levels).
    """
    sums = dict.fromkeys(('cls_first', 'reg_first', 'cls_second', 'reg_second'), 0.0)
    positives_first = positives_second = 0
    candidates = survivors = 0
    for image, image_faces, image_labels in zip(images, faces, labels, strict=True):
        sizes = [m.shape[-2:] for m in image['cls']]
        for level, anchors in enumerate(grid_anchors(sizes, strides)):
            cls = rows(image['cls'][level], num_classes)
            reg = rows(image['reg'][level], 4)
            priors = anchors
            if level in str_levels:
                first_reg = rows(image['first_reg'][level], 4)
                priors = [decode(a, d) for a, d in zip(anchors, first_reg, strict=True)]
            if level in stc_levels:
                first_cls = rows(image['first_cls'][level], num_classes)
            for i, found in enumerate(match(anchors, image_faces, 0.7, 0.3)):
                positives_first += found >= 0
                if level in stc_levels and found != -2:
                    label = image_labels[found] if found >= 0 else num_classes
                    sums['cls_first'] += focal(first_cls[i], label)
                if level in str_levels and found >= 0:
                    sums['reg_first'] += bbox_loss(
                        anchors[i], first_reg[i], image_faces[found]
                    )
            for i, found in enumerate(match(priors, image_faces, 0.5, 0.4)):
                out = level in stc_levels and dropped(first_cls[i], theta)
                if not filter_positives and found >= 0:
                    out = False
                if level in stc_levels:
                    candidates += 1
                    survivors += not out
                if out or found == -2:
                    continue
                label = image_labels[found] if found >= 0 else num_classes
                sums['cls_second'] += focal(cls[i], label)
                if found >= 0:
                    positives_second += 1
                    sums['reg_second'] += bbox_loss(
                        priors[i], reg[i], image_faces[found]
                    )
    first, second = max(positives_first, 1), max(positives_second, 1)
    losses = dict(
        loss_cls_second=sums['cls_second'] / second,
        loss_bbox_second=sums['reg_second'] / second,
        num_pos_second=positives_second,
    )
    if stc_levels:
        losses['loss_cls_first'] = sums['cls_first'] / first
        losses['stc_survivors'] = survivors / max(candidates, 1)
    if str_levels:
        losses['loss_bbox_first'] = sums['reg_first'] / first
    if stc_levels or str_levels:
        losses['num_pos_first'] = positives_first
    return losses


def nms(boxes, scores, labels, threshold, plus_one=False):
    """Greedy per-class suppression; indices of what stays, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(
            labels[i] != labels[j] or iou(boxes[i], boxes[j], plus_one) <= threshold
            for j in kept
        ):
            kept.append(i)
    return kept


def vote(box, boxes, weights, threshold):
    """The weighted mean of all boxes that overlap one; itself if there are none."""
    if threshold is None:
        return box
    total, mean = 0.0, np.zeros(4)
    for other, weight in zip(boxes, weights, strict=True):
        if iou(box, other) >= threshold:
            total, mean = total + weight, mean + weight * np.array(other)
    return mean / total if total else box


def soft_nms(boxes, scores, threshold, least=1e-3):
    """Linear soft-NMS of one class; rows of a box and its score, best first."""
    rest, found = [[*box, score] for box, score in zip(boxes, scores, strict=True)], []
    while rest:
        best = max(rest, key=lambda row: row[4])
        rest.remove(best)
        found.append(best)
        for row in rest:
            overlap = iou(best[:4], row[:4])
            row[4] *= 1 - overlap if overlap > threshold else 1
        rest = [row for row in rest if row[4] >= least]
    return np.array(found)


def detect(
    image,
    strides,
    stc_levels,
    str_levels,
    num_classes,
    theta=0.99,
    score_thr=0.0,
    nms_pre=None,
    max_before_nms=None,
    nms_thr=0.5,
    max_per_img=750,
    plus_one=False,
    vote_iou_thr=None,
):
    """Boxes (K, 4), scores (K, ) and labels (K, ) of one image, best first."""
    candidates = []
    sizes = [m.shape[-2:] for m in image['cls']]
    for level, anchors in enumerate(grid_anchors(sizes, strides)):
        cls = sigmoid(rows(image['cls'][level], num_classes))
        reg = rows(image['reg'][level], 4)
        if level in stc_levels:
            first_cls = rows(image['first_cls'][level], num_classes)
        if level in str_levels:
            first_reg = rows(image['first_reg'][level], 4)
        found = []
        for i, anchor in enumerate(anchors):
            if level in stc_levels and dropped(first_cls[i], theta):
                continue
            prior = decode(anchor, first_reg[i]) if level in str_levels else anchor
            for label, score in enumerate(cls[i]):
                if score > score_thr:
                    found.append((score, label, decode(prior, reg[i])))
        found.sort(key=lambda item: -item[0])
        candidates += found[:nms_pre]
    candidates.sort(key=lambda item: -item[0])
    candidates = candidates[:max_before_nms]
    scores = [c[0] for c in candidates]
    labels = [c[1] for c in candidates]
    boxes = [c[2] for c in candidates]
    kept = nms(boxes, scores, labels, nms_thr, plus_one)[:max_per_img]
    voted = [
        vote(boxes[i], boxes, scores * (labels == np.array(labels[i])), vote_iou_thr)
        for i in kept
    ]
    return (
        np.array(voted).reshape(-1, 4),
        np.array([scores[i] for i in kept]),
        np.array([labels[i] for i in kept], dtype=int),
    )


def is_greedy_nms(boxes, scores, kept, threshold, plus_one=False, slack=0.0):
    """Whether ``kept`` (indices) is an outcome of greedy suppression.

    Whatever the order of equal scores: what is kept does not overlap, and each of
    the others overlaps something kept whose score is no lower. ``slack`` is
    granted to each comparison of an overlap.
    """
    kept = list(kept)
    for n, i in enumerate(kept):
        for j in kept[:n]:
            if iou(boxes[i], boxes[j], plus_one) > threshold + slack:
                return False
    for i in set(range(len(boxes))) - set(kept):
        if not any(
            scores[j] >= scores[i]
            and iou(boxes[i], boxes[j], plus_one) > threshold - slack
            for j in kept
        ):
            return False
    return True
