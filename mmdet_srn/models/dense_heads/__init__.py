"""Dense heads."""

from .query_srn_head import QuerySRNHead
from .srn_head import SRNHead
from .srn_iou_head import SRNIoUHead

__all__ = ['QuerySRNHead', 'SRNHead', 'SRNIoUHead']
