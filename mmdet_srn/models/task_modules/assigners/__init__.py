"""Matching of priors and ground truth."""

from .ali_ams_assigner import AliAMSAssigner
from .grid_max_iou_assigner import GridMaxIoUAssigner, find_ignored
from .hambox_assigner import HAMBoxAssigner
from .online_assigner import OnlineAssigner

__all__ = [
    'AliAMSAssigner',
    'GridMaxIoUAssigner',
    'HAMBoxAssigner',
    'OnlineAssigner',
    'find_ignored',
]
