"""Backbones that mmdet lacks."""

from .efficientnet_lite import EfficientNetLite

__all__ = ['EfficientNetLite']
