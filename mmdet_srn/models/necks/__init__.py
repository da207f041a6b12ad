"""Necks: the Receptive Field Enhancement block and SRN's double pyramid."""

from .rfe import RFE
from .srn_fpn import SRNFPN

__all__ = ['RFE', 'SRNFPN']
