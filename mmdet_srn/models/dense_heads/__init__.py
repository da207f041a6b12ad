"""Dense heads."""

from .srn_head import SRNHead
from .srn_iou_head import SRNIoUHead

__all__ = ['SRNHead', 'SRNIoUHead']
