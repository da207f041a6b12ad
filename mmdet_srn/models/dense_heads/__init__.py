"""Dense heads."""

from .query_srn_head import QuerySRNHead
from .srn_head import SRNHead

__all__ = ['QuerySRNHead', 'SRNHead']
