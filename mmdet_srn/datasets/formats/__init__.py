"""Annotations of faces in the formats that tools export."""

from .cleaning import REASONS, clean
from .labelled_image import Face, LabelledImage
from .reading import FORMATS, hint, read_annotation, recognise
from .writing import to_coco, to_wider_face

__all__ = [
    'FORMATS',
    'REASONS',
    'Face',
    'LabelledImage',
    'clean',
    'hint',
    'read_annotation',
    'recognise',
    'to_coco',
    'to_wider_face',
]
