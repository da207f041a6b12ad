"""Labelled images as WIDER FACE's text or COCO's JSON."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from .labelled_image import LabelledImage


def write_annotation(
    path: Path, images: Sequence[LabelledImage], classes: Sequence[str]
) -> str:
    """Write COCO's JSON if the file's suffix is .json, else WIDER FACE's text.

    Args:
        path: The file; its folder is made.
        images: As ``clean`` returns them.
        classes: The categories of COCO's JSON.

    Returns:
        What is in it, in words, and whether landmarks are not: the text has none.
    """
    faces = [face for image in images for face in image.faces]
    written = f'{len(images)} images, {len(faces)} faces'
    if path.suffix == '.json':
        text = to_coco(images, classes)
    else:
        text = to_wider_face(images)
        if landmarks := sum(bool(face.keypoints) for face in faces):
            written += f', the landmarks of {landmarks} left out (.json keeps them)'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return written


def to_wider_face(images: Sequence[LabelledImage]) -> str:
    """Write WIDER FACE's text: whole pixels, one class, ``invalid`` for ignored."""
    lines = []
    for image in images:
        lines += [image.path, str(len(image.faces))]
        for face in image.faces:
            x1, y1, x2, y2 = (math.floor(value + 0.5) for value in face.box)
            w, h = max(x2 - x1, 1), max(y2 - y1, 1)
            lines.append(f'{x1} {y1} {w} {h} 0 0 0 {int(face.ignored)} 0 0')
        if not image.faces:
            lines.append('0 0 0 0 0 0 0 0 0 0')
    return ''.join(f'{line}\n' for line in lines)


def to_coco(images: Sequence[LabelledImage], classes: Sequence[str]) -> str:
    """Write COCO's JSON: one category a class, ``iscrowd`` for ignored, landmarks."""
    annotations = []
    for number, image in enumerate(images, 1):
        for face in image.faces:
            x1, y1, x2, y2 = (round(value, 3) for value in face.box)
            w, h = round(x2 - x1, 3), round(y2 - y1, 3)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=classes.index(face.label) + 1,
                    bbox=[x1, y1, w, h],
                    area=w * h,
                    iscrowd=int(face.ignored),
                )
            )
            if face.keypoints:
                points = [round(value, 3) for value in face.keypoints]
                seen = sum(value > 0 for value in points[2::3])
                annotations[-1].update(keypoints=points, num_keypoints=seen)
    content = dict(
        images=[
            dict(id=n, file_name=image.path, width=image.size[0], height=image.size[1])
            for n, image in enumerate(images, 1)
        ],
        annotations=annotations,
        categories=[dict(id=n, name=name) for n, name in enumerate(classes, 1)],
    )
    return json.dumps(content, indent=1) + '\n'
