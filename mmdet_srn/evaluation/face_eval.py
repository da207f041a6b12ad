"""AFW and PASCAL face: AP as the toolbox face-eval computes it.

Mathias, Benenson, Pedersoli and Van Gool, "Face detection without bells and whistles",
ECCV 2014, annotated both sets anew. Their toolbox, bitbucket.org/marcopede/face-eval,
is what later papers report (the authors of S3FD and FaceBoxes name it), read in the
copy in github.com/bairdzhang/smallhardface. Each rule with its place:

- Faces below 30 pixels of width or height, and those with a flag in the sixth column,
  are ignored (database.py, plot_AP.py). Detections of 21 pixels or less in width and
  height are left out (filterdet).
- The IoU counts boxes as w + 1 by h + 1 pixels, and is 0 if they only touch (overlap).
- In descending order of score a detection belongs to the face of the largest IoU, the
  last one among equals. Above .5 it is a true positive, or a false one if the face is
  taken; an ignored face makes it neither. Others are false (VOCprRecordOptim).
- AP is the area under the envelope, one point per detection (VOCap).
- Sets and detectors differ in where a face ends. So all boxes are moved and scaled by
  the mean that brings the true positives onto their faces, 4 times (evaluate_optim with
  its 5 rounds). Published figures are after that.

What differs: detections in images without annotation are left out, which the toolbox
counts as false; of equal scores, those of one image stay together. The older annotation
(``--oldAnn``) is not read.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .average_precision import voc_average_precision
from .face_ap import FaceAP, ImageFaces
from .mat_file import load_mat

MIN_FACE = 30  # pixels
MIN_DETECTION = int((0.5 * MIN_FACE * MIN_FACE) ** 0.5)  # 21
REFINEMENTS = 4


def read_annotation(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read ``new_annotations_AFW.mat`` or ``Annotations_Face_PASCALLayout_*.mat``.

    Returns:
        Image without suffix -> boxes (n, 4) x1, y1, x2, y2, and bool (n,): ignored.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is none of them, or damaged.
    """
    faces = {}
    for number, image in enumerate(load_mat(path, ['Annotations'])['Annotations'], 1):
        try:
            name, objects = image['imgname'].split('.')[0], image['objects']
            objects = np.asarray(objects, float) if len(objects) else np.zeros((0, 4))
            boxes = objects[:, :4].reshape(-1, 4)
            if name in faces or not np.isfinite(objects).all():
                raise ValueError(f'{name} came before, or has NaN')
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            reason = f'{type(error).__name__}: {error}'
            raise ValueError(f'{path}: Annotations({number}): {reason}') from error
        small = np.abs(boxes[:, 2:] - boxes[:, :2]) < MIN_FACE
        faces[name] = boxes, (objects[:, 5:6] != 0).any(1) | small.any(1)
    return faces


def evaluate_boxes(
    images: Sequence[ImageFaces], refinements: int = REFINEMENTS
) -> FaceAP:
    """Compute the AP, after so many refinements of the boxes.

    Raises:
        ValueError: If there is no face to find.
    """
    ignored = np.concatenate([image.gt_ignored for image in images])
    if ignored.all():
        raise ValueError('there is no face to find: all are ignored')
    faces = [image.gt_bboxes for image in images]
    starts = np.cumsum([0, *map(len, faces)])
    boxes = np.concatenate([image.bboxes for image in images])
    scores = np.concatenate([image.scores for image in images])
    owners = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    large = (boxes[:, 2:] - boxes[:, :2] > MIN_DETECTION).any(axis=1)
    boxes, scores, owners = boxes[large], scores[large], owners[large]
    ends = np.searchsorted(owners, np.arange(1, len(images)))
    order = np.argsort(-scores, kind='stable')
    for step in range(refinements + 1):
        groups = np.split(boxes, ends)  # by image
        best = map(_best_faces, groups, faces)
        iou, face = np.concatenate(list(best), axis=1)[:, order]
        face = face.astype(int) + starts[owners[order]]
        met = iou > 0.5
        candidates = np.flatnonzero(met & ~ignored[face])
        hits = candidates[np.unique(face[candidates], return_index=True)[1]]
        if step < refinements and len(hits):
            targets = np.concatenate(faces)[face[hits]]
            boxes = _refine(boxes, boxes[order[hits]], targets)
    true, false = np.zeros(len(scores), bool), ~met
    false[candidates] = True
    true[hits], false[hits] = True, False
    found, wrong = np.cumsum(true), np.cumsum(false)
    num_faces = int(np.count_nonzero(~ignored))
    recall = found / num_faces
    with np.errstate(invalid='ignore'):  # only ignored faces so far
        precision = found / (found + wrong)
    ap = voc_average_precision(recall, precision)
    return FaceAP(ap, num_faces, recall, precision, scores[order], found, wrong)


def _best_faces(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (2, M): the largest IoU, and the last face that has it, -1 for none.

    Boxes (M, 4) and faces (N, 4) are xyxy, whose last pixels are included.
    """
    if not len(faces):
        return np.array([[0.0], [-1.0]]).repeat(len(boxes), axis=1)
    low = np.maximum(boxes[:, None, :2], faces[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], faces[None, :, 2:])
    common = np.where((high > low).all(2), (high - low + 1).prod(2), 0)
    areas, face_areas = (
        (np.abs(each[:, 2:] - each[:, :2]) + 1).prod(1) for each in (boxes, faces)
    )
    iou = common / (areas[:, None] + face_areas - common)
    return np.stack((iou.max(1), len(faces) - 1 - iou[:, ::-1].argmax(1)))


def _refine(boxes: np.ndarray, hits: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Move and scale all boxes by the mean of hits -> faces."""
    sizes = hits[:, 2:] - hits[:, :2]
    moves = (faces[:, :2] + faces[:, 2:] - hits[:, :2] - hits[:, 2:]) / 2
    shift = np.mean(moves / sizes, axis=0)
    scale = np.mean((faces[:, 2:] - faces[:, :2]) / sizes, axis=0)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * sizes
    return np.hstack((centres - scale * sizes / 2, centres + scale * sizes / 2))
