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
    """Fold batch norms into the convolutions before them, as they are in eval mode.

    mmcv's ``fuse_conv_bn`` takes a norm that was made after a convolution for one that
    is applied to it, and one with weights and statistics. That is so in mmdet's
    backbones but need not be. So both are held against each other on one made image.

    Args:
        backbone (nn.Module): From images (N, 3, H, W) to a sequence of maps; left as
            it is.

    Returns:
        nn.Module: A copy in eval mode; the backbone itself where there is nothing to
        fold, or, with a warning, where folding fails or computes something else.
    """
    norm = nn.modules.batchnorm._BatchNorm
    if not any(isinstance(module, norm) for module in backbone.modules()):
        return backbone
    first = next(backbone.parameters())
    half = first.dtype in (torch.float16, torch.bfloat16)
    plain = copy.deepcopy(backbone)
    plain.eval()  # which in mmdet's backbones returns nothing
    if half:
        plain.float()
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    image = image.to(next(plain.parameters()))
    try:
        folded = fuse_conv_bn(copy.deepcopy(plain))
        folded.eval()  # what stands in the norms' places as well
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            difference = max(
                float((ours - theirs).abs().max() / theirs.abs().max())
                for ours, theirs in zip(folded(image), plain(image), strict=True)
            )
    except Exception as error:  # whatever a backbone of somebody else's may raise
        problem = f'{type(error).__name__}: {error}'
    else:
        if difference <= TOLERANCE:
            return folded.to(first.dtype) if half else folded
        problem = f'its maps would differ by {difference:.2g} of the largest value'
    warnings.warn(
        f'the batch norms of {type(backbone).__name__} stay, as they cannot be folded '
        f'into its convolutions ({problem}); detection is right, and no faster',
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
