"""Detectors beside mmdet's ``SingleStageDetector``."""

from .pkd_detector import PKDDetector

__all__ = ['PKDDetector']
