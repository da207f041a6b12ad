"""Data transforms; registered in ``mmdet.registry.TRANSFORMS``."""

from .random_square_crop import RandomSquareCrop

__all__ = ['RandomSquareCrop']
