"""Matching of priors and ground truth."""

from .grid_max_iou_assigner import GridMaxIoUAssigner, find_ignored

__all__ = ['GridMaxIoUAssigner', 'find_ignored']
