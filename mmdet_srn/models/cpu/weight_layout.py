"""Weights in the memory format of the images that they are convolved with."""

import torch
from torch import nn

from .channels_last_preprocessor import ChannelsLastPreprocessor
from .matrix_conv import MatrixConv2d


def images_are_channels_last(detector: nn.Module) -> bool:
    """Whether a detector's images are channels last on the device it is on."""
    on_cpu = next(detector.parameters()).device.type == 'cpu'
    preprocessor = getattr(detector, 'data_preprocessor', None)
    return on_cpu and isinstance(preprocessor, ChannelsLastPreprocessor)


def lay_out_weights(detector: nn.Module) -> None:
    """Lay a detector's weights out channels last where its images are.

    On a CPU torch would otherwise do so in each call. Where images are contiguous
    nothing changes: such weights would turn all maps channels last, which mmcv's
    operators on a CPU misread (see ``ChannelsLastPreprocessor``). Other subclasses of
    ``nn.Conv2d`` are left alone, as they may assume contiguous weights.
    """
    if images_are_channels_last(detector):
        for module in detector.modules():
            if type(module) in (nn.Conv2d, MatrixConv2d):
                module.to(memory_format=torch.channels_last)
