"""Data transforms; registered in ``mmdet.registry.TRANSFORMS``."""

from .degrade_image import DegradeImage
from .load_data_anchor_crop import LoadDataAnchorCrop
from .load_square_crop import LoadSquareCrop
from .place_in_square import PlaceInSquare
from .random_square_crop import RandomSquareCrop

__all__ = [
    'DegradeImage',
    'LoadDataAnchorCrop',
    'LoadSquareCrop',
    'PlaceInSquare',
    'RandomSquareCrop',
]
