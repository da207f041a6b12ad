"""Anchor generators."""

from .srn_anchor_generator import SRNAnchorGenerator

__all__ = ['SRNAnchorGenerator']
