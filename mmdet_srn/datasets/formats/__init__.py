"""Annotations of faces in the formats that tools export."""

from .cleaning import REASONS, clean, look_like_corners
from .labelled_image import Face, LabelledImage
from .options import Reading, add_reading_options
from .reading import CONVERTER, FORMATS, hint, read_annotation, recognise
from .writing import write_annotation

__all__ = [
    'CONVERTER',
    'FORMATS',
    'REASONS',
    'Face',
    'LabelledImage',
    'Reading',
    'add_reading_options',
    'clean',
    'hint',
    'look_like_corners',
    'read_annotation',
    'recognise',
    'write_annotation',
]
