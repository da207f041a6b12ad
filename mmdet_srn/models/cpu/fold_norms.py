"""A backbone without batch norms that computes the same, for detection alone."""

import copy
import warnings
from collections.abc import Iterator

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn

TOLERANCE = 1e-2
"""Largest difference of the maps, relative to the largest value. Folding rounds by some
1e-6, or 1e-3 where a GPU uses TF32; where it does not apply, maps differ entirely."""


def fold_norms(backbone: nn.Module) -> nn.Module:
    """Fold batch norms into the convolutions before them, as they are in eval mode.

    mmcv's ``fuse_conv_bn`` assumes that a norm which was created after a convolution is
    applied to it and has weights and statistics. That holds in mmdet's backbones but
    need not elsewhere. So both are compared on one synthetic image.

    Args:
        backbone: From images (N, 3, H, W) to a sequence of maps; not changed.

    Returns:
        A copy in eval mode; the backbone itself where there is nothing to fold or, with
        a warning, where folding fails or computes something else.
    """
    norm = nn.modules.batchnorm._BatchNorm
    if not any(isinstance(module, norm) for module in backbone.modules()):
        return backbone
    plain = copy.deepcopy(backbone)
    plain.eval()  # returns None in mmdet's backbones
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    image = image.to(next(plain.parameters()))
    try:
        folded = fuse_conv_bn(copy.deepcopy(plain))
        folded.eval()  # also what replaces the norms
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            difference = max(
                float((ours - theirs).abs().max() / theirs.abs().max())
                for ours, theirs in zip(folded(image), plain(image), strict=True)
            )
    except Exception as error:  # a third-party backbone may raise anything
        problem = f'{type(error).__name__}: {error}'
    else:
        if difference <= TOLERANCE:
            return folded
        problem = f'its maps would differ by {difference:.2g} of the largest value'
    warnings.warn(
        f'the batch norms of {type(backbone).__name__} stay, as they cannot be folded '
        f'into its convolutions ({problem}); detections are the same, but no faster',
        stacklevel=2,
    )
    return backbone


def modules_with_backbone(model: nn.Module) -> Iterator[nn.Module]:
    """Find the modules with a ``backbone``, also inside wrappers (DDP, TTA)."""
    for module in model.modules():
        if isinstance(getattr(module, 'backbone', None), nn.Module):
            yield module
