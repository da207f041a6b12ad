"""Test-time augmentation: SRN's multi-scale test with box voting."""

from .box_voting import box_voting
from .multi_scale_test import SRNMultiScaleTest
from .multi_scale_views import MultiScaleViews, View, multi_scale_views

__all__ = [
    'MultiScaleViews',
    'SRNMultiScaleTest',
    'View',
    'box_voting',
    'multi_scale_views',
]
