"""Matching of priors and ground truth."""

from .grid_max_iou_assigner import GridMaxIoUAssigner
from .ignored_priors import find_ignored

__all__ = ['GridMaxIoUAssigner', 'find_ignored']
