"""What comes between the data loader and the network."""

from .channels_last_preprocessor import ChannelsLastPreprocessor

__all__ = ['ChannelsLastPreprocessor']
