"""Anchors and matching."""

from .assigners import GridMaxIoUAssigner
from .prior_generators import SRNAnchorGenerator

__all__ = ['GridMaxIoUAssigner', 'SRNAnchorGenerator']
