"""Anchors and matching."""

from .prior_generators import SRNAnchorGenerator

__all__ = ['SRNAnchorGenerator']
