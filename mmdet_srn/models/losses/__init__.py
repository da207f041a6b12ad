"""Losses of the two-step training."""

from .two_stage_focal_loss import TwoStageFocalLoss

__all__ = ['TwoStageFocalLoss']
