"""Dense heads."""

from .srn_head import SRNHead

__all__ = ['SRNHead']
