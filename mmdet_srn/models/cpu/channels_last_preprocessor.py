"""Images in the memory format in which a CPU convolves them faster."""

from collections.abc import Sequence

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS


@MODELS.register_module()
class ChannelsLastPreprocessor(DetDataPreprocessor):
    """``DetDataPreprocessor`` with images channels last on a CPU.

    The shape (N, 3, H, W) stays. Convolutions, norms and activations keep the format of
    their input, so the whole network works in it. Values differ by rounding alone.
    By default it does so in tests alone.

    Not for models with mmcv operators that assume contiguous memory, such as
    ``RoIAlign`` and deformable convolutions: on a CPU most of them misread the format
    without an error (mmcv 2.3).

    Args:
        *args: See ``DetDataPreprocessor``.
        channels_last: Device types on which images are laid out so; measured on 'cpu'.
        in_training: Whether to do it in training as well, whose results it changes by
            rounding. Defaults to False.
        **kwargs: See ``DetDataPreprocessor``.
    """

    def __init__(
        self,
        *args,
        channels_last: Sequence[str] = ('cpu',),
        in_training: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.channels_last = tuple(channels_last)
        self.in_training = in_training

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch from the data loader, as ``DetDataPreprocessor`` does."""
        data = super().forward(data, training)
        inputs = data['inputs']
        wanted = self.in_training or not training
        if wanted and self.applies_to(inputs.device):
            data['inputs'] = inputs.contiguous(memory_format=torch.channels_last)
        return data

    def applies_to(self, device: torch.device) -> bool:
        """Whether images are channels last on a device."""
        return device.type in self.channels_last
