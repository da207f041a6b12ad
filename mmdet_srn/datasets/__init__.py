"""WIDER FACE in its official text layout, and transforms to train on it."""

from .transforms import (
    LoadDataAnchorCrop,
    LoadSquareCrop,
    PlaceInSquare,
    RandomSquareCrop,
)
from .wider_face_txt import WIDERFaceTxtDataset

__all__ = [
    'LoadDataAnchorCrop',
    'LoadSquareCrop',
    'PlaceInSquare',
    'RandomSquareCrop',
    'WIDERFaceTxtDataset',
]
