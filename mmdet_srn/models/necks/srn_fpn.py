"""SRN's double pyramid: C2..C7 for the first step, P2..P7 for the second."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..cpu.matrix_conv import MatrixConv2d
from ..sparse.deferred_map import DeferredMap

_is_compiling = getattr(torch.compiler, 'is_compiling', bool)  # older torch may lack it


class DeferredConv(nn.Module):
    """A convolution that, except in training, is left to the reader of its output.

    If it makes a lateral, the sum with the map above is then deferred as well; not
    under ``torch.compile``, which cannot trace a sum with a ``DeferredMap``.
    """

    def __init__(self, conv: nn.Module, is_lateral: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.is_lateral = is_lateral

    def forward(self, x: Tensor | DeferredMap) -> Tensor | DeferredMap:
        """Convolve x (N, C, H, W), or defer it."""
        if isinstance(x, DeferredMap):
            return x.then(self.conv)
        if self.training or (self.is_lateral and _is_compiling()):
            return self.conv(x)
        return DeferredMap(x, self.conv)


@MODELS.register_module()
class SRNFPN(BaseModule):
    """The first step's maps beside a stock FPN for the second step.

    First step: the backbone's stages C2..C5, then C6 and C7, each a 3x3
    convolution of stride 2 of the map before it, without norm or ReLU; every
    map then goes through its own 1x1 convolution to ``out_channels``
    (released code). Second step: mmdet's ``FPN`` on the same stages.

    Args:
        in_channels: Channels of the backbone's stages.
        out_channels: Channels of every output map.
        extra_channels: Channels of C6 and C7, the first step's maps after the
            backbone's, before their reduction; both pyramids have as many levels as
            there are stages and extra maps. Default: released network.
        add_extra_convs: Input of P6, as in ``FPN``: 'on_lateral' is the lateral of C5
            (released code), 'on_output' is P5 (paper).
        upsample_cfg: Top-down upsampling, as in ``FPN``. Default: bilinear with aligned
            corners (released code); ``dict(mode='nearest')`` is FPN's (paper).
        first_levels: Levels, 0 the finest, of the first step to make: those in the
            head's ``stc_levels`` and ``str_levels``. For the others the second step's
            map is returned, which the head's first step does not read. None for all;
            then a level that no step uses is wasted work, and its parameters get no
            gradient.
        deferred_levels: Levels of the second step whose 3x3 output convolution is left
            to the reader, who may need it at few cells: in eval mode they are
            ``DeferredMap``, for ``SRNHead`` and its ``stc_levels``. On level 0, where
            there are others, the lateral convolution and the sum are left as well.
        deferred_first_levels: Levels of the first step whose 1x1 convolution is left to
            the reader in eval mode: ``QuerySRNHead``'s ``query_levels``.
        init_cfg: Default: Xavier (paper, 'Training').

    Raises:
        ValueError: If ``first_levels`` are not distinct levels, ``deferred_levels``
            are not the backbone's or are what the extra levels are made of, or
            ``deferred_first_levels`` are not made.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        extra_channels: Sequence[int] = (1024, 256),
        add_extra_convs: bool | str = 'on_lateral',
        upsample_cfg: dict = dict(mode='bilinear', align_corners=True),  # noqa: B006
        first_levels: Sequence[int] | None = None,
        deferred_levels: Sequence[int] = (),
        deferred_first_levels: Sequence[int] = (),
        init_cfg: dict | list[dict] | None = dict(  # noqa: B006
            type='Xavier', layer='Conv2d', distribution='uniform'
        ),
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = tuple(in_channels)
        widths = [*in_channels, *extra_channels]
        num_outs = len(widths)
        levels = range(num_outs) if first_levels is None else tuple(first_levels)
        if not set(levels) <= set(range(num_outs)) or len(set(levels)) != len(levels):
            raise ValueError(
                f'first_levels={first_levels} must be distinct levels from 0 to '
                f'{num_outs - 1}'
            )
        last = max(levels, default=0)  # C7 is made of C6
        self.extra_convs = nn.ModuleList(
            MatrixConv2d(before, after, 3, stride=2, padding=1)
            for before, after in pairwise(widths[len(in_channels) - 1 : last + 1])
        )
        self.reducers = nn.ModuleDict(
            {
                str(level): nn.Conv2d(widths[level], out_channels, 1)
                for level in sorted(levels)
            }
        )
        self.deferred_first_levels = set(deferred_first_levels)
        if not self.deferred_first_levels <= set(levels):
            raise ValueError(
                f'deferred_first_levels={deferred_first_levels} must be of '
                f'{sorted(levels)}'
            )
        self.fpn = MODELS.build(
            dict(
                type='FPN',
                in_channels=list(in_channels),
                out_channels=out_channels,
                num_outs=num_outs,
                add_extra_convs=add_extra_convs,
                upsample_cfg=upsample_cfg,
                init_cfg=init_cfg,
            )
        )
        free = list(range(len(in_channels)))
        if num_outs > len(free) and add_extra_convs in (False, 'on_output'):
            free.pop()
        if not set(deferred_levels) <= set(free):
            raise ValueError(f'deferred_levels={deferred_levels} must be of {free}')
        convs, laterals = self.fpn.fpn_convs, self.fpn.lateral_convs
        for level in set(deferred_levels):
            # stock: no norm, no activation
            convs[level] = DeferredConv(convs[level].conv)
        if 0 in deferred_levels and len(in_channels) > 1:  # no level is made of its sum
            laterals[0] = DeferredConv(laterals[0].conv, is_lateral=True)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor | DeferredMap, ...]:
        """Build both pyramids of the backbone's maps, each (N, in_channels[i], H, W).

        Returns:
            The first step's maps, then the second step's, each finest first and
            (N, out_channels, H, W).

        Raises:
            ValueError: If the maps do not have the channels of ``in_channels``.
        """
        channels = tuple(stage.shape[1] for stage in inputs)
        if channels != self.in_channels:
            raise ValueError(
                f'the backbone gave {len(channels)} maps of {channels} channels to '
                f'SRNFPN(in_channels={self.in_channels}); set neck.in_channels, or '
                'out_indices of the backbone'
            )
        stages = list(inputs)
        for conv in self.extra_convs:
            # for a channels last map the weights, 75 MB of C6, would be reordered
            stages.append(conv(stages[-1].contiguous()))
        second = self.fpn(inputs)
        first = list(second)
        for name, reduce in self.reducers.items():
            level = int(name)
            if level in self.deferred_first_levels and not self.training:
                first[level] = DeferredMap(stages[level], reduce)
            else:
                first[level] = reduce(stages[level])
        return (*first, *second)
