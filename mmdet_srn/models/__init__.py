"""Modules of SRN's network, each registered in ``mmdet.registry``."""

from .backbones import EfficientNetLite, PretrainedBackbone, SameConv2d
from .cpu import ChannelsLastPreprocessor
from .dense_heads import QuerySRNHead, SRNHead, SRNIoUHead
from .detectors import PKDDetector
from .losses import PKDLoss, TwoStageFocalLoss
from .necks import RFE, SRNFPN
from .task_modules import SRNAnchorGenerator
from .test_time_augs import SRNMultiScaleTest

__all__ = [
    'RFE',
    'PKDDetector',
    'PKDLoss',
    'SRNFPN',
    'ChannelsLastPreprocessor',
    'EfficientNetLite',
    'PretrainedBackbone',
    'QuerySRNHead',
    'SRNAnchorGenerator',
    'SRNHead',
    'SRNIoUHead',
    'SRNMultiScaleTest',
    'SameConv2d',
    'TwoStageFocalLoss',
]
