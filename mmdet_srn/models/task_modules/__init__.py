"""Anchors and matching."""

from .assigners import AliAMSAssigner, GridMaxIoUAssigner, HAMBoxAssigner
from .prior_generators import SRNAnchorGenerator

__all__ = [
    'AliAMSAssigner',
    'GridMaxIoUAssigner',
    'HAMBoxAssigner',
    'SRNAnchorGenerator',
]
