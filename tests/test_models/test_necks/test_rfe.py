import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

import mmdet_srn  # noqa: F401


def build(**kwargs):
    torch.manual_seed(0)
    rfe = MODELS.build(dict(type='RFE', **kwargs))
    rfe.init_weights()
    return rfe


def plain_rfe(rfe, x):
    """The block written out with functional convolutions."""
    p = {name: value for name, value in rfe.named_parameters()}
    outs = []
    for i, (kh, kw) in enumerate(((1, 5), (5, 1), (1, 3), (3, 1))):
        y = x
        for j, padding in enumerate((0, (kh // 2, kw // 2), 0)):
            name = f'branches.{i}.{j}.conv'
            y = F.conv2d(y, p[f'{name}.weight'], p[f'{name}.bias'], padding=padding)
            y = F.relu(y)
        outs.append(y)
    y = F.conv2d(torch.cat(outs, 1), p['fuse.0.conv.weight'], p['fuse.0.conv.bias'])
    return x + F.relu(y)


def test_values_and_parameter_count():
    rfe = build(in_channels=256)
    assert sum(p.numel() for p in rfe.parameters()) == 214_016
    x = torch.randn(2, 256, 5, 7)
    torch.testing.assert_close(rfe(x), plain_rfe(rfe, x))


def test_without_gradients_the_input_stays():
    """The sum then takes the place of the block's own values."""
    rfe = build(in_channels=8)
    x = torch.randn(2, 8, 5, 7)
    before, fused = x.clone(), []
    rfe.fuse.register_forward_hook(lambda *args: fused.append(args[-1].data_ptr()))
    with torch.no_grad():
        found = rfe(x)
    assert torch.equal(x, before)
    assert torch.equal(found, rfe(x))
    assert found.data_ptr() == fused[0] and rfe(x).data_ptr() != fused[-1]


def test_mixed_precision_keeps_the_finer_one():
    rfe, x = build(in_channels=8), torch.randn(2, 8, 5, 7)
    with torch.autocast('cpu', torch.bfloat16):
        trained = rfe(x)
        with torch.no_grad():
            found = rfe(x)
    assert found.dtype == trained.dtype == torch.float32
    assert torch.equal(found, trained)


def test_init_is_xavier_in_every_convolution():
    rfe = build(in_channels=64)
    for name, weight in rfe.named_parameters():
        if name.endswith('bias'):
            assert not weight.any()
            continue
        fan = weight[0].numel() + weight.shape[0] * weight[0, 0].numel()
        bound = (6 / fan) ** 0.5
        assert 0.8 * bound < weight.abs().max() <= bound, name


def test_a_pyramid_is_each_map_alone():
    """A map that comes twice, as where SRNFPN makes one for both steps, stays one."""
    rfe = build(in_channels=9, norm_cfg=dict(type='BN')).eval()
    assert rfe.branches[1][1].with_norm
    large, small = torch.randn(1, 9, 4, 6), torch.randn(1, 9, 2, 3)
    outs = rfe((large, small, small))
    assert outs[1] is outs[2]
    for one, together in zip((large, small), outs[:2], strict=True):
        assert torch.equal(rfe(one), together)


def test_wrong_channels():
    with pytest.raises(ValueError, match='in_channels=3 for 4 branches'):
        build(in_channels=3)
    with pytest.raises(ValueError, match=r'in_channels=8.* of 16 channels'):
        build(in_channels=8)((torch.zeros(1, 8, 4, 4), torch.zeros(1, 16, 2, 2)))
