"""Anchors and predictions of all levels of a batch in one row."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.prior_generators import (
    AnchorGenerator,
    anchor_inside_flags,
)
from torch import Tensor

from ..losses.two_stage_focal_loss import full_precision


class AnchorGrid(NamedTuple):
    """The anchors of N images, P on all levels together, finest level first.

    Attributes:
        anchors: (N, P, 4), xyxy in pixels.
        valid: Boolean (N, P), anchors that may be matched; None for all.
        sizes: Number of anchors of each level.
    """

    anchors: Tensor
    valid: Tensor | None
    sizes: list[int]

    @classmethod
    def of(
        cls,
        generator: AnchorGenerator,
        map_sizes: Sequence[tuple[int, int]],
        batch_img_metas: Sequence[dict],
        device: torch.device,
        border: float = -1,
    ) -> 'AnchorGrid':
        """Lay anchors over maps.

        Args:
            generator: Makes the anchors.
            map_sizes: H, W of each level.
            batch_img_metas: Meta information of each image.
            device: Where to put them.
            border: How many pixels an anchor may lie outside of its image to be
                valid; any number if negative.
        """
        mlvl_anchors = generator.grid_priors(map_sizes, device=device)
        anchors = torch.cat(mlvl_anchors)  # (P, 4)
        # Then every cell is part of every image.
        whole = all(
            tuple(meta['pad_shape'][:2]) == tuple(meta.get('batch_input_shape', ()))
            for meta in batch_img_metas
        )
        valid = None
        if not whole or border >= 0:
            flags = [
                generator.valid_flags(map_sizes, meta['pad_shape'], device)
                for meta in batch_img_metas
            ]
            valid = torch.stack(
                [
                    anchor_inside_flags(
                        anchors, torch.cat(own), meta['img_shape'][:2], border
                    )
                    for own, meta in zip(flags, batch_img_metas, strict=True)
                ]
            )
        anchors = anchors.expand(len(batch_img_metas), -1, -1)
        return cls(anchors, valid, [len(level) for level in mlvl_anchors])

    @property
    def levels(self) -> Tensor:
        """The level of each anchor, (N, P)."""
        sizes = torch.tensor(self.sizes, device=self.anchors.device)
        numbers = torch.arange(len(sizes), device=sizes.device)
        return numbers.repeat_interleave(sizes).expand(len(self.anchors), -1)

    def on(self, values: Tensor, levels: Sequence[int]) -> Tensor:
        """Take the anchors of some levels from values (N, P, ...)."""
        parts = values.split(self.sizes, dim=1)
        return torch.cat([values[:, :0], *(parts[level] for level in levels)], dim=1)

    def replace(self, values: Tensor, levels: Sequence[int], new: Tensor) -> Tensor:
        """Replace some levels of values (N, P, ...) by ``new`` (N, P', ...)."""
        parts = list(values.split(self.sizes, dim=1))
        own = new.to(values.dtype).split([self.sizes[level] for level in levels], dim=1)
        for level, part in zip(levels, own, strict=True):
            parts[level] = part
        return torch.cat(parts, dim=1)


def flatten_maps(
    maps: Sequence[Tensor], channels: int, like: Tensor | None = None
) -> Tensor:
    """Lay maps (N, A * channels, H, W) out as (N, anchors, channels), not in half.

    Args:
        maps: One per level.
        channels: Channels per anchor.
        like: (N, ...), for N, type and device where there is no map.
    """
    if not maps:
        return like.new_zeros(len(like), 0, channels)
    rows = [m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps]
    return full_precision(torch.cat(rows, dim=1))
