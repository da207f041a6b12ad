"""Images in the memory format in which a CPU convolves them faster."""

from collections.abc import Sequence

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS


@MODELS.register_module()
class ChannelsLastPreprocessor(DetDataPreprocessor):
    """``DetDataPreprocessor`` whose images lie channels last when a CPU tests.

    The shape (N, 3, H, W) stays. Convolutions, norms and activations keep the format
    of their input, so the whole network works in it, with the weights as they are.
    Values differ by rounding alone. Training is not touched.

    Not for a model with operators of mmcv that read memory as it lies, such as
    ``RoIAlign`` and deformable convolutions: on a CPU they misread the format, most of
    them without a word (mmcv 2.3).

    Args:
        *args: See ``DetDataPreprocessor``.
        channels_last (Sequence[str]): Kinds of device on which images are laid out
            so. Defaults to ('cpu', ), the one where it was measured.
        **kwargs: See ``DetDataPreprocessor``.
    """

    def __init__(
        self, *args, channels_last: Sequence[str] = ('cpu',), **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.channels_last = tuple(channels_last)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data (dict): From the data loader.
            training (bool): Whether it is for training. Defaults to False.

        Returns:
            dict: ``inputs`` (N, 3, H, W) and ``data_samples``.
        """
        data = super().forward(data, training)
        inputs = data['inputs']
        if not training and self.applies_to(inputs.device):
            data['inputs'] = inputs.contiguous(memory_format=torch.channels_last)
        return data

    def applies_to(self, device: torch.device) -> bool:
        """Whether images are laid out so on a device."""
        return device.type in self.channels_last
