import pytest
import torch
from mmdet.registry import MODELS

import mmdet_srn  # noqa: F401

ADDRESS = 'http://127.0.0.1:9/resnet50-0676ba61.pth'  # nothing listens there


def resnet(**init_cfg):
    return MODELS.build(
        dict(
            type='ResNet',
            depth=18,
            base_channels=4,
            init_cfg=dict(type='PretrainedBackbone', **init_cfg),
        )
    )


@pytest.fixture
def weights():
    backbone = MODELS.build(dict(type='ResNet', depth=18, base_channels=4))
    return {
        name: torch.randn_like(v.float()) for name, v in backbone.named_parameters()
    } | {name: v for name, v in backbone.named_buffers()}


@pytest.mark.parametrize('kind', ['file', 'detector', 'detector.', 'cache'])
def test_loads(weights, tmp_path, monkeypatch, kind):
    """A classifier's weights, a detector's backbone, and what torch has fetched."""
    file, init_cfg = tmp_path / 'resnet.pth', {}
    content = weights | {'fc.weight': torch.zeros(3)}
    if kind.startswith('detector'):
        init_cfg = dict(prefix=kind)
        content = {f'detector.{name}': value for name, value in weights.items()}
        content = dict(state_dict=content | {'neck.x': torch.zeros(1)}, meta={})
    elif kind == 'cache':
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        file = tmp_path / 'hub' / 'checkpoints' / ADDRESS.split('/')[-1]
        file.parent.mkdir(parents=True)
    torch.save(content, file)
    checkpoint = ADDRESS if kind == 'cache' else str(file)
    backbone = resnet(checkpoint=checkpoint, **init_cfg)
    backbone.init_weights()
    for name, value in backbone.named_parameters():
        assert torch.equal(value, weights[name]), name


def test_children_do_not_draw_their_own(tmp_path):
    """MobileNetV2 holds ConvModules, which initialise themselves."""
    cfg = dict(type='MobileNetV2', widen_factor=0.1)
    state = MODELS.build(cfg).state_dict()
    file = tmp_path / 'mobilenet.pth'
    torch.save(state, file)
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(file))
    backbone = MODELS.build(dict(cfg, init_cfg=init_cfg))
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize('checkpoint', [ADDRESS, 'no/such/file.pth'])
def test_missing_weights_say_what_to_put_where(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        resnet(checkpoint=checkpoint).init_weights()
    message = str(error.value)
    assert checkpoint in message
    if checkpoint == ADDRESS:
        assert f'{tmp_path}/hub/checkpoints/{checkpoint.split("/")[-1]}' in message
    else:
        assert 'make that file' in message and 'fetched' not in message
    assert 'model.backbone.init_cfg.checkpoint=FILE' in message


def test_wrong_checkpoint(weights, tmp_path):
    file = tmp_path / 'wrong.pth'
    del weights['conv1.weight']
    weights['bn1.weight'] = torch.zeros(7)
    torch.save(weights, file)
    with pytest.raises(ValueError, match=r'2 of \d+ weights.*conv1.*missing.*\(7,\)'):
        resnet(checkpoint=str(file)).init_weights()
