"""SameConv2d against mmcv's Conv2dAdaptivePadding."""

import pytest
import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding

from mmdet_srn.models.backbones import SameConv2d


def pair(*args, **options):
    torch.manual_seed(0)
    theirs = Conv2dAdaptivePadding(*args, **options)
    ours = SameConv2d(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(
    ('kernel', 'stride'), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2), (5, 3)]
)
@pytest.mark.parametrize('size', [(6, 6), (7, 6), (5, 9), (1, 2)])
def test_as_mmcv(kernel, stride, size):
    ours, theirs = pair(4, 8, kernel, stride=stride, padding=kernel // 2, groups=4)
    x = torch.rand(2, 4, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), theirs(x))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
    ours.requires_grad_(False)  # as in frozen stages
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours(x).shape[2:] == tuple(-(-side // stride) for side in size)


@pytest.mark.parametrize('groups', [1, 4])
def test_depthwise_stays_in_float32_under_autocast(groups):
    ours, theirs = pair(4, 4, 3, stride=2, groups=groups)
    x = torch.rand(1, 4, 7, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = ours(x.bfloat16())
    assert found.dtype == (torch.float32 if groups > 1 else torch.bfloat16)
    expected = theirs(x.bfloat16().float())
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    found.sum().backward()
    assert ours.weight.grad.dtype == torch.float32


@pytest.mark.parametrize('options', [(2, 1, 1), (1, 2, 1), (3, 1, 2)])
def test_what_it_cannot_pad(options):
    kernel, stride, dilation = options
    with pytest.raises(ValueError, match='odd kernel'):
        SameConv2d(1, 1, kernel, stride=stride, dilation=dilation)
