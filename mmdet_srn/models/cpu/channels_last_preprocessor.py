"""Images in the memory format in which a CPU convolves them faster."""

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS


@MODELS.register_module()
class ChannelsLastPreprocessor(DetDataPreprocessor):
    """``DetDataPreprocessor`` with images channels last on a CPU.

    The shape (N, 3, H, W) stays. Convolutions, norms and activations keep the format of
    their input, so the whole network works in it. Values differ by rounding alone.
    Images stay contiguous in training, and on other devices, which were not measured.

    Not for models with mmcv operators that assume contiguous memory, such as
    ``RoIAlign`` and deformable convolutions: on a CPU most of them misread the format
    without an error (mmcv 2.3).

    Args:
        *args: See ``DetDataPreprocessor``.
        in_training: Whether to do it in training as well, whose results it changes by
            rounding.
        **kwargs: See ``DetDataPreprocessor``.
    """

    def __init__(self, *args, in_training: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.in_training = in_training

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch from the data loader, as ``DetDataPreprocessor`` does."""
        data = super().forward(data, training)
        inputs = data['inputs']
        if inputs.device.type == 'cpu' and (self.in_training or not training):
            data['inputs'] = inputs.contiguous(memory_format=torch.channels_last)
        return data
