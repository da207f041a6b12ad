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

    Parallel branches with rectangular kernels see faces of unusual poses; each
    is 1x1, rectangular kernel, 1x1. They are concatenated, fused by a 1x1
    convolution and added to the input. ReLU follows every convolution, none
    the sum (released code). Where no gradients are wanted the sum takes the place
    of the last convolution's values, which a hook on ``fuse`` may have kept.

    It works inside ``SRNHead``'s subnets and, since it also takes the tuple of
    maps that an FPN returns, as a neck after any FPN::

        neck=[dict(type='FPN', ...), dict(type='RFE', in_channels=256)]

    Args:
        in_channels (int): Channels of the input and of the output.
        norm_cfg (dict, optional): Normalisation after every convolution.
            Defaults to None, as in the released code.
        init_cfg (dict, optional): Defaults to Xavier (paper, 'Training').

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
                f'RFE needs at least one channel a branch, got in_channels='
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
        # In a Sequential: a ConvModule that is a direct child would draw its
        # own Kaiming weights over init_cfg's.
        self.fuse = nn.Sequential(
            ConvModule(width * len(KERNEL_SIZES), in_channels, 1, norm_cfg=norm_cfg)
        )

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Enhance one map, or each map of a pyramid with the same weights.

        Args:
            x (Tensor | Sequence[Tensor]): Shape (N, C, H, W), or such maps.

        Returns:
            Tensor | tuple[Tensor, ...]: Same shapes as the input.

        Raises:
            ValueError: If a map has other than ``in_channels`` channels.
        """
        if not isinstance(x, Tensor):
            # A map that stands for two levels' steps is enhanced once and stays one.
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
        return fused.add_(x)  # of a large map, fresh memory takes longer than the sum
