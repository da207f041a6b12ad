"""AP by height band, in plain loops, as the docstring of evaluate_face_ap reads."""

import math


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union


def height_outcomes(images, iou_thr, low, high):
    """Pairs (score, is a true positive) of all detections that count; number of faces.

    images: dicts of lists.
    """
    num_faces = 0
    outcomes = []
    for image in images:
        faces = image['gt_bboxes']
        in_band = [low <= face[3] - face[1] < high for face in faces]
        ignored = image['gt_ignored']
        counts = [b and not i for b, i in zip(in_band, ignored, strict=True)]
        num_faces += sum(counts)
        taken = set()
        rows = sorted(range(len(image['scores'])), key=lambda i: -image['scores'][i])
        for row in rows:
            box, score = image['bboxes'][row], image['scores'][row]
            best_counting, best_other = None, None
            for g, face in enumerate(faces):
                overlap = iou(box, face)
                if overlap < iou_thr:
                    continue
                if counts[g] and g not in taken:
                    if best_counting is None or overlap > best_counting[0]:
                        best_counting = (overlap, g)
                if not counts[g] and (ignored[g] or g not in taken):
                    if best_other is None or overlap > best_other[0]:
                        best_other = (overlap, g)
            if best_counting:
                taken.add(best_counting[1])
                outcomes.append((score, True))
            elif best_other:
                taken.add(best_other[1])
            elif low <= box[3] - box[1] < high:
                outcomes.append((score, False))
    return outcomes, num_faces


def height_ap(images, iou_thr, low, high):
    """AP and number of faces."""
    outcomes, num_faces = height_outcomes(images, iou_thr, low, high)
    if not num_faces:
        return math.nan, 0
    points = []
    for threshold in sorted({score for score, _ in outcomes}, reverse=True):
        kept = [hit for score, hit in outcomes if score >= threshold]
        points.append((sum(kept) / num_faces, sum(kept) / len(kept)))
    ap, previous = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        ap += (recall - previous) * max(precision for _, precision in points[i:])
        previous = recall
    return ap, num_faces
