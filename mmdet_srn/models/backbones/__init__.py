"""Backbones that mmdet lacks, and weights that must fit."""

from .efficientnet_lite import EfficientNetLite
from .pretrained_backbone import PretrainedBackbone
from .same_conv import SameConv2d

__all__ = ['EfficientNetLite', 'PretrainedBackbone', 'SameConv2d']
