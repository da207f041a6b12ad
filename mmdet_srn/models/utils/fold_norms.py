"""A backbone without batch norms that computes the same, for detection alone."""

import copy
import warnings
from collections.abc import Iterator

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn

TOLERANCE = 1e-2
"""Of the largest value, how far maps may be apart. Folding rounds by some 1e-6, by 1e-3
where a GPU convolves in TF32; where it does not apply, maps have little in common."""


def fold_norms(backbone: nn.Module) -> nn.Module:
    """Fold batch norms in eval mode into the convolutions before them.

    mmcv's ``fuse_conv_bn`` takes a norm that was made after a convolution for one that
    is applied to it. That is so in mmdet's backbones but need not be, so both are held
    against each other on one made image.

    Args:
        backbone (nn.Module): From images (N, 3, H, W) to maps; left as it is.

    Returns:
        nn.Module: A copy in eval mode; the backbone itself where there is nothing to
        fold, or, with a warning, where the copy would compute something else.
    """
    folded = fuse_conv_bn(copy.deepcopy(backbone))
    folded.eval()  # which in mmdet's backbones returns nothing
    if _count_norms(folded) == _count_norms(backbone):
        return backbone
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    image = image.to(next(backbone.parameters()))
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    with torch.no_grad():
        expected = backbone(image)
        found = folded(image)
    for module, training in modes:
        module.training = training
    if all(
        (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()
        for ours, theirs in zip(found, expected, strict=True)
    ):
        return folded
    warnings.warn(
        f'the batch norms of {type(backbone).__name__} cannot be folded into its '
        'convolutions without changing what it computes; they stay',
        stacklevel=2,
    )
    return backbone


def modules_with_backbone(model: nn.Module) -> Iterator[nn.Module]:
    """Find the detectors in a model, such as below what distributes or augments it.

    Args:
        model (nn.Module): The model.

    Yields:
        nn.Module: Each with a ``backbone``.
    """
    for module in model.modules():
        if isinstance(getattr(module, 'backbone', None), nn.Module):
            yield module


def _count_norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
