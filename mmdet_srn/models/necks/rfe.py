"""Receptive Field Enhancement."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..sparse.deferred_map import to_dense

KERNEL_SIZES = ((1, 5), (5, 1), (1, 3), (3, 1))
"""Kernel (h, w) of each branch, in the order of the concatenation (released code)."""


@MODELS.register_module()
class RFE(BaseModule):
    """Receptive Field Enhancement block (paper, same-named section).

    Parallel branches with rectangular kernels see faces in unusual poses; each is 1x1,
    rectangular kernel, 1x1. They are concatenated, fused by a 1x1 convolution and added
    to the input. ReLU follows every convolution, but not the sum (released code).
    Without gradients the sum overwrites the output of ``fuse``, which matters to a hook
    on it.

    It works inside ``SRNHead``'s subnets and, since it also takes the tuple of maps
    that an FPN returns, as a neck after any FPN::

        neck=[dict(type='FPN', ...), dict(type='RFE', in_channels=256)]

    Args:
        in_channels: Channels of the input and of the output.
        norm_cfg: Normalisation after every convolution (released code: none).
        init_cfg: Default: Xavier (paper, 'Training').

    Raises:
        ValueError: If there are fewer channels than branches.
    """

    def __init__(
        self,
        in_channels: int,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = dict(  # noqa: B006
            type='Xavier', layer='Conv2d', distribution='uniform'
        ),
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        width = in_channels // len(KERNEL_SIZES)
        if width == 0:
            raise ValueError(
                'RFE needs at least one channel per branch, got in_channels='
                f'{in_channels} for {len(KERNEL_SIZES)} branches'
            )
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvModule(in_channels, width, 1, norm_cfg=norm_cfg),
                ConvModule(
                    width,
                    width,
                    (height_k, width_k),
                    padding=(height_k // 2, width_k // 2),
                    norm_cfg=norm_cfg,
                ),
                ConvModule(width, width, 1, norm_cfg=norm_cfg),
            )
            for height_k, width_k in KERNEL_SIZES
        )
        # In a Sequential: as a direct child, ConvModule would overwrite init_cfg's
        # weights by its own Kaiming ones.
        self.fuse = nn.Sequential(
            ConvModule(width * len(KERNEL_SIZES), in_channels, 1, norm_cfg=norm_cfg)
        )

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Enhance one map (N, C, H, W), or each of a pyramid with the same weights.

        Raises:
            ValueError: If a map has other than ``in_channels`` channels.
        """
        if not isinstance(x, Tensor):
            # A map that both steps read is enhanced once and stays one map.
            maps = {id(level): level for level in x}
            enhanced = {key: self(to_dense(level)) for key, level in maps.items()}
            return tuple(enhanced[id(level)] for level in x)
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f'RFE(in_channels={self.in_channels}) got a map of {x.shape[1]} '
                'channels; as a neck it needs the out_channels of the one before it'
            )
        fused = self.fuse(torch.cat([branch(x) for branch in self.branches], dim=1))
        if torch.is_grad_enabled() or fused.dtype != x.dtype:
            return x + fused
        return fused.add_(x)  # allocating a large map takes longer than the sum
