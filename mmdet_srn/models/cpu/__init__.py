"""What makes detection faster on a CPU, with the same detections."""

from .channels_last_preprocessor import ChannelsLastPreprocessor

__all__ = ['ChannelsLastPreprocessor']
