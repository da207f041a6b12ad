"""A detector of a few kilobytes that finds many things, if not faces."""

import functools
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmdet_srn import FaceDetector
from mmdet_srn.datasets import WIDERFaceTxtDataset

REPO_ROOT = Path(__file__).resolve().parents[2]

#: A detector; those of the same arguments are one.
load = functools.cache(FaceDetector)

CONFIG = """
_base_ = '{base}'
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16, extra_channels=(16, 16)),
    bbox_head=dict(
        in_channels=16, feat_channels=16, norm_cfg=dict(type='GN', num_groups=2)
    ),
    test_cfg=dict(score_thr=0.05, max_per_img=40),
)
{more}
"""


def change_pipeline(change: str) -> str:
    """What to add to a config for another test pipeline, such as ``[1] = {..}``."""
    return f"""
test_pipeline = _base_.test_pipeline
test_pipeline{change}
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


def build(config: Path) -> nn.Module:
    """The model, seeded, with scores from nearly 0 to nearly 1."""
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    model.init_weights()
    head = model.bbox_head
    nn.init.normal_(head.conv_cls.weight, std=0.5)
    nn.init.constant_(head.conv_cls.bias, -1.4)
    nn.init.zeros_(head.conv_cls_first.bias)
    return model.eval()


def write_checkpoint(model: nn.Module, path: Path) -> Path:
    """As mmengine and convert_srn_official.py write it, in short."""
    meta = dict(dataset_meta=dict(WIDERFaceTxtDataset.METAINFO))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


def make_tiny_model(folder: Path, more: str = '') -> tuple[Path, Path]:
    """A config and its checkpoint, alone in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'tiny.py'
    base = REPO_ROOT / 'configs/srn_r18_face_mosaic.py'
    config.write_text(CONFIG.format(base=base.as_posix(), more=more))
    return config, write_checkpoint(build(config), folder / 'tiny.pth')
