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
    """A convolution that, but in training, is left to who reads its output."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor | DeferredMap) -> Tensor | DeferredMap:
        """Convolve x (N, C, H, W), or say with what to."""
        if isinstance(x, DeferredMap):
            return x.then(self.conv)
        return self.conv(x) if self.training else DeferredMap(x, self.conv)


class DeferredLateral(DeferredConv):
    """One that makes a lateral, whose sum with the map above is then deferred as well.

    Not in a compiler, which cannot trace the sum of a tensor with something else.
    """

    def forward(self, x: Tensor) -> Tensor | DeferredMap:
        """Convolve x (N, C, H, W), or say with what to."""
        return self.conv(x) if _is_compiling() else super().forward(x)


@MODELS.register_module()
class SRNFPN(BaseModule):
    """The first step's maps beside a stock FPN for the second step.

    First step: the backbone's stages C2..C5, then C6 and C7, each a 3x3
    convolution of stride 2 of the map before it, without norm or ReLU; every
    map then goes through its own 1x1 convolution to ``out_channels``
    (released code). Second step: mmdet's ``FPN`` on the same stages.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's stages.
        out_channels (int): Channels of every output map. Defaults to 256.
        extra_channels (Sequence[int]): Channels of the first step's maps that
            come after the backbone's, C6 and C7, before their reduction; as many
            levels as there are of both has each pyramid. Defaults to (1024, 256),
            as in the released network.
        add_extra_convs (bool | str): What P6 is a convolution of, as in
            ``FPN``: 'on_lateral' is the lateral of C5 (released code),
            'on_output' is P5 (paper). Defaults to 'on_lateral'.
        upsample_cfg (dict): Top-down upsampling, as in ``FPN``. Defaults to
            bilinear with aligned corners (released code);
            ``dict(mode='nearest')`` is FPN's (paper).
        first_levels (Sequence[int], optional): Levels, 0 the finest, of the
            first step that are made: those in the head's ``stc_levels`` and
            ``str_levels``. In place of the others the second step's map is
            returned, which the head does not read. Without it, a level that
            no step uses is computed for nothing, and its parameters get no
            gradient. Defaults to None, all.
        deferred_levels (Sequence[int]): Levels of the second step whose 3x3
            output convolution is left to the reader, who may need it at few
            places: in eval mode they come as ``DeferredMap``, for ``SRNHead``
            and its ``stc_levels``. Of level 0, where there are others, the
            lateral convolution and the sum are left as well. Defaults to (),
            none.
        init_cfg (dict, optional): Defaults to Xavier (paper, 'Training').

    Raises:
        ValueError: If ``first_levels`` names a level twice or one that there
            is not, or ``deferred_levels`` one that the backbone has not or
            that the extra levels are made of.
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
            laterals[0] = DeferredLateral(laterals[0].conv)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor | DeferredMap, ...]:
        """Build both pyramids.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, each of shape
                (N, in_channels[i], H_i, W_i).

        Returns:
            tuple[Tensor | DeferredMap, ...]: The first step's maps,
            then the second step's, each finest first and of shape
            (N, out_channels, H_i, W_i).

        Raises:
            ValueError: If the maps are not as many as ``in_channels``, or have
                other channels.
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
            # contiguous weights, 75 MB of C6, would be laid out as a channels last map
            stages.append(conv(stages[-1].contiguous()))
        second = self.fpn(inputs)
        first = list(second)
        for level, reduce in self.reducers.items():
            first[int(level)] = reduce(stages[int(level)])
        return (*first, *second)
