"""SRN with all its parts and few channels; a part survives its first step."""

from pathlib import Path

import torch
from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

import mmdet_srn  # noqa: F401
from tests.conftest import REPO_ROOT

CONFIG = f"""
_base_ = '{(REPO_ROOT / 'configs' / 'srn_r50_fpn_widerface.py').as_posix()}'
model = dict(
    backbone=dict(depth=18, base_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8, extra_channels=(16, 8)),
    bbox_head=dict(in_channels=8, feat_channels=8))
"""
#: Height and width of an image, and the cells of its maps.
SIZE = (128, 160)
CELLS = [32 * 40, 16 * 20, 8 * 10, 4 * 5, 2 * 3, 1 * 2]


def write_config(folder: Path, more: str = '') -> Path:
    path = folder / 'small.py'
    path.write_text(CONFIG + more)
    return path


def build(folder: Path, second_step: str = 'auto', **changes) -> SingleStageDetector:
    cfg = Config.fromfile(write_config(folder)).model
    cfg.bbox_head.update(changes)
    cfg.test_cfg.second_step = second_step
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg, _scope_='mmdet'))
    model.init_weights()
    head = model.bbox_head
    if head.stc_levels:
        nn.init.xavier_uniform_(head.conv_cls_first.weight, gain=30)
    nn.init.xavier_uniform_(head.conv_cls.weight, gain=4)
    nn.init.xavier_uniform_(head.conv_reg.weight, gain=0.1)
    return model.eval()


def noise(number: int = 1) -> dict:
    """Images of noise, as a data loader gives them."""
    torch.manual_seed(3)
    meta = dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
    images = [torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)] * number
    samples = [DetDataSample(metainfo=meta) for _ in images]
    return dict(inputs=images, data_samples=samples)


def detect(detector: SingleStageDetector, number: int = 1) -> list:
    with torch.no_grad():
        found = detector.test_step(noise(number))
    return [sample.pred_instances for sample in found]


def weights_of(*modules: nn.Module) -> int:
    """Multiply-adds per cell of convolutions of stride 1."""
    return sum(
        conv.weight.numel()
        for module in modules
        for conv in module.modules()
        if isinstance(conv, nn.Conv2d)
    )
