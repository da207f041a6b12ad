"""Test-time augmentation: SRN's multi-scale test with box voting."""

from .box_voting import box_voting
from .multi_scale_test import SRNMultiScaleTest, multi_scale_views

__all__ = ['SRNMultiScaleTest', 'box_voting', 'multi_scale_views']
