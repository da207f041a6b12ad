"""Losses of the two-step training, and of distillation."""

from .pkd_loss import PKDLoss
from .two_stage_focal_loss import TwoStageFocalLoss

__all__ = ['PKDLoss', 'TwoStageFocalLoss']
