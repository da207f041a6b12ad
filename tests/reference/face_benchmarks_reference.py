"""FDDB and face-eval once more, slowly: loops over pixels, pairs and thresholds."""

from itertools import permutations

import cv2
import numpy as np


def draw(region, size):
    """The pixels (y, x) that a region covers."""
    mask = np.zeros((size[1], size[0], 3), np.uint8)
    if len(region) == 4:
        x, y, w, h = region
        corners = [(round(a), round(b)) for a, b in ((x, y), (x + w, y + h))]
        cv2.rectangle(mask, *corners, (9, 9, 9), -1)
    else:
        a, b, angle, x, y = region
        # As the official code has it: pi - angle, then 180 - that.
        turned = 180 - (np.pi - angle) * 180 / np.pi
        place = round(x), round(y)
        cv2.ellipse(mask, place, (int(a), int(b)), turned, 0, 360, (9, 9, 9), -1)
    return {(y, x) for y in range(size[1]) for x in range(size[0]) if mask[y, x].any()}


def iou(one, other):
    return len(one & other) / max(len(one | other), 1)


def best_pairs(table):
    """Overlaps of the one-to-one pairs with the largest sum, of all there are."""
    num_faces, num_found = len(table), len(table[0]) if table else 0
    if num_faces > num_found:
        table = [list(row) for row in zip(*table, strict=True)]
        num_faces, num_found = num_found, num_faces
    choices = permutations(range(num_found), num_faces)
    pairs = ([table[i][j] for i, j in enumerate(choice)] for choice in choices)
    return max(pairs, key=sum)


def fddb(images):
    """(score, discrete rate, continuous rate, false positives), scores falling."""
    prepared = []
    for faces, rows, size in images:
        masks = [draw(face, size) for face in faces]
        found = [draw(row[:-1], size) for row in rows]
        scores = [row[-1] for row in rows]
        prepared.append(([[iou(m, f) for f in found] for m in masks], scores))
    num_faces = sum(len(table) for table, _ in prepared)
    points = []
    for threshold in sorted({s for _, scores in prepared for s in scores})[::-1]:
        hits, total, num_found = 0, 0.0, 0
        for table, scores in prepared:
            keep = [i for i, score in enumerate(scores) if score >= threshold]
            num_found += len(keep)
            if keep:
                pairs = best_pairs([[row[i] for i in keep] for row in table])
                total += sum(pairs)
                hits += sum(overlap > 0.5 for overlap in pairs)
        points.append(
            (threshold, hits / num_faces, total / num_faces, num_found - hits)
        )
    return points


def overlap(a, b):
    wide = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    if min(wide) <= 0:
        return 0.0
    common = (wide[0] + 1) * (wide[1] + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return common / (sum(areas) - common)


def face_eval(faces, detections, rounds):
    """(AP, tp or fp or None of each detection); names -> boxes with a flag; rows."""
    detections = [d for d in detections if d[4] - d[2] > 21 or d[5] - d[3] > 21]
    detections.sort(key=lambda d: -d[1])
    num_faces = sum(not flag for group in faces.values() for *_, flag in group)
    for _ in range(rounds):
        taken, verdicts, changes = set(), [], []
        for name, _, *box in detections:
            best, which = 0, None
            for i, face in enumerate(faces[name]):
                if overlap(box, face) >= best:
                    best, which = overlap(box, face), i
            if best <= 0.5:
                verdicts.append('fp')
            elif faces[name][which][4]:
                verdicts.append(None)
            elif (name, which) in taken:
                verdicts.append('fp')
            else:
                verdicts.append('tp')
                taken.add((name, which))
                x1, y1, x2, y2, _ = faces[name][which]
                w, h = box[2] - box[0], box[3] - box[1]
                changes.append(
                    (
                        ((x1 + x2) / 2 - (box[0] + box[2]) / 2) / w,
                        ((y1 + y2) / 2 - (box[1] + box[3]) / 2) / h,
                        (x2 - x1) / w,
                        (y2 - y1) / h,
                    )
                )
        if changes:
            dx, dy, sx, sy = (sum(c) / len(c) for c in zip(*changes, strict=True))
            moved = []
            for name, score, x1, y1, x2, y2 in detections:
                w, h = x2 - x1, y2 - y1
                x, y = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h
                corners = x - w * sx / 2, y - h * sy / 2, x + w * sx / 2, y + h * sy / 2
                moved.append((name, score, *corners))
            detections = moved
    points, tp, fp = [], 0, 0
    for verdict in verdicts:
        tp, fp = tp + (verdict == 'tp'), fp + (verdict == 'fp')
        if verdict == 'tp':
            points.append(tp / (tp + fp))
    # Each face found adds the best precision from there on.
    area = sum(max(points[i:]) for i in range(len(points))) / num_faces
    return area, verdicts
