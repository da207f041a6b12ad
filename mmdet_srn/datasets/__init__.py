"""WIDER FACE in its official text layout, and transforms to train on it."""

from .transforms import RandomSquareCrop
from .wider_face_txt import WIDERFaceTxtDataset

__all__ = ['RandomSquareCrop', 'WIDERFaceTxtDataset']
