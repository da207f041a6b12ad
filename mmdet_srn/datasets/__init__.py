"""WIDER FACE's text layout, COCO's JSON, and transforms to train on them."""

from .face_coco import FaceCocoDataset
from .transforms import (
    LoadDataAnchorCrop,
    LoadSquareCrop,
    PlaceInSquare,
    RandomSquareCrop,
)
from .wider_face_txt import WIDERFaceTxtDataset

__all__ = [
    'FaceCocoDataset',
    'LoadDataAnchorCrop',
    'LoadSquareCrop',
    'PlaceInSquare',
    'RandomSquareCrop',
    'WIDERFaceTxtDataset',
]
