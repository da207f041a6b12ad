import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

import mmdet_srn  # noqa: F401
from tests.conftest import REPO_ROOT

SETTINGS = dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=True, pad_size_divisor=4)


def batch(*sizes):
    torch.manual_seed(0)
    return dict(
        inputs=[torch.randint(0, 256, (3, *s), dtype=torch.uint8) for s in sizes],
        data_samples=[DetDataSample(metainfo=dict(img_shape=s)) for s in sizes],
    )


def build(kind, **kwargs):
    return MODELS.build(dict(type=kind, _scope_='mmdet', **SETTINGS, **kwargs))


def is_channels_last(images):
    return images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ('training', 'in_training'), [(False, False), (True, False), (True, True)]
)
def test_the_stock_values(training, in_training):
    """In training, channels last only if asked for."""
    ours = build('ChannelsLastPreprocessor', in_training=in_training)
    sizes = [(20, 31), (33, 7)]
    expected = build('DetDataPreprocessor')(batch(*sizes), training)
    found = ours(batch(*sizes), training)
    assert torch.equal(found['inputs'], expected['inputs'])
    for a, b in zip(found['data_samples'], expected['data_samples'], strict=True):
        assert a.metainfo == b.metainfo
    wanted = in_training or not training
    assert is_channels_last(found['inputs']) == wanted
    assert found['inputs'].is_contiguous() != wanted


def test_the_network_keeps_the_format():
    """From the image to the maps that the head reads, as the config builds it."""
    cfg = Config.fromfile(REPO_ROOT / 'configs' / 'srn_r50_fpn_widerface.py').model
    cfg.backbone.update(depth=18, base_channels=4, init_cfg=None)
    cfg.neck.update(in_channels=[4, 8, 16, 32], out_channels=8, extra_channels=(16, 8))
    cfg.bbox_head.update(in_channels=8, feat_channels=8)
    model = MODELS.build(dict(cfg, _scope_='mmdet')).eval()
    inputs = model.data_preprocessor(batch((160, 192)))['inputs']
    with torch.no_grad():
        late = model.extract_feat(inputs)
        plain = model.extract_feat(inputs.contiguous())
    assert len(late) == 12
    for ours, theirs in zip(late, plain, strict=True):
        ours, theirs = (getattr(m, 'source', m) for m in (ours, theirs))
        torch.testing.assert_close(ours, theirs)
        assert theirs.is_contiguous()
    large = [getattr(m, 'source', m) for m in (*late[:4], *late[6:11])]
    assert all(is_channels_last(m) for m in large)  # all but C6, C7 and P7 of 1x2
