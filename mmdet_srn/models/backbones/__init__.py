"""Backbones that mmdet lacks."""

from .efficientnet_lite import EfficientNetLite
from .same_conv import SameConv2d

__all__ = ['EfficientNetLite', 'SameConv2d']
