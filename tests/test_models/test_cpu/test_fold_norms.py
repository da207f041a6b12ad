import copy

import pytest
import torch
from mmdet.models.backbones import MobileNetV2, ResNet
from torch import nn

from mmdet_srn.models.cpu.fold_norms import fold_norms, modules_with_backbone


def with_statistics(backbone: nn.Module) -> nn.Module:
    """In eval mode, with norms that do something."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    backbone.eval()
    return backbone


def count(kind: type[nn.Module], module: nn.Module) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


@pytest.fixture
def resnet() -> ResNet:
    return with_statistics(ResNet(18, base_channels=8, frozen_stages=0))


@pytest.mark.parametrize(
    ('make', 'dtype'),
    [
        (lambda: ResNet(18, base_channels=8), torch.float64),
        (lambda: ResNet(50, base_channels=4, deep_stem=True), torch.float32),
        (lambda: MobileNetV2(widen_factor=0.25), torch.float32),
    ],
)
def test_computes_the_same(make, dtype):
    """Also where mixed precision would spoil the comparison."""
    backbone = with_statistics(make()).to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        folded = fold_norms(backbone)
    assert count(nn.BatchNorm2d, folded) == 0 < count(nn.BatchNorm2d, backbone)
    image = torch.randn(2, 3, 97, 130, dtype=dtype)
    close = 1e-4 if dtype == torch.float32 else 1e-9
    with torch.no_grad():
        for ours, theirs in zip(folded(image), backbone(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=close, atol=close)


def test_leaves_the_backbone_as_it_is(resnet):
    resnet.train()
    modes = [module.training for module in resnet.modules()]
    before, parameters = copy.deepcopy(resnet.state_dict()), list(resnet.parameters())
    random = torch.random.get_rng_state()
    folded = fold_norms(resnet)
    assert not any(module.training for module in folded.modules())
    assert [module.training for module in resnet.modules()] == modes
    assert all(a is b for a, b in zip(parameters, resnet.parameters(), strict=True))
    after = resnet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_without_norms_it_is_the_same_module():
    backbone = ResNet(
        18, base_channels=8, norm_cfg=dict(type='GN', num_groups=2), norm_eval=False
    )
    assert fold_norms(backbone) is backbone


class NormFirst(nn.Module):
    """Made in one order, applied in another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.conv(self.norm(x)),)


class OneChannel(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


@pytest.mark.parametrize(
    ('make', 'problem'),
    [
        (lambda: with_statistics(NormFirst()), 'its maps would differ by'),
        (OneChannel, 'RuntimeError: .* 1 channels'),
        (
            lambda: ResNet(18, base_channels=8, norm_cfg=dict(type='BN', affine=False)),
            'Error: ',
        ),
    ],
)
def test_what_cannot_be_folded_stays_as_it_is(make, problem):
    backbone = make()
    backbone.train()
    modes = [module.training for module in backbone.modules()]
    with pytest.warns(UserWarning, match=f'(?s)batch norms of .* stay, .*{problem}'):
        assert fold_norms(backbone) is backbone
    assert [module.training for module in backbone.modules()] == modes


def test_finds_the_detectors_in_a_model(resnet):
    detector = nn.Module()
    detector.backbone = resnet
    for model in (detector, nn.Sequential(nn.Sequential(detector))):
        assert list(modules_with_backbone(model)) == [detector]
    assert not list(modules_with_backbone(resnet))
