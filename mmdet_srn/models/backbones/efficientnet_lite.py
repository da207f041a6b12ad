"""EfficientNet-Lite, the EfficientNet without squeeze-and-excitation."""

from typing import Any

from mmdet.models.backbones import EfficientNet
from mmdet.registry import MODELS


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """mmdet's EfficientNet with the changes of EfficientNet-Lite.

    No squeeze-and-excitation, ReLU6 for Swish, and the same stem for all sizes
    (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

    Args:
        arch: 'b0' for Lite0. Larger ones would need Lite's unscaled stem.
        conv_cfg: Defaults to ``SameConv2d``.
        act_cfg: Defaults to ReLU6.
        **kwargs: See mmdet's ``EfficientNet``.
    """

    layer_settings = {
        'b': [
            [[kernel, channels, 0, *rest] for kernel, channels, _, *rest in stage]
            for stage in EfficientNet.layer_settings['b']
        ]
    }
    arch_settings = {'b0': EfficientNet.arch_settings['b0']}

    def __init__(
        self,
        arch: str = 'b0',
        conv_cfg: dict = dict(type='SameConv2d'),  # noqa: B006
        act_cfg: dict = dict(type='ReLU6'),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, conv_cfg=conv_cfg, act_cfg=act_cfg, **kwargs)
