"""SRN's parts in mmdet's own detectors: each config trains and detects."""

from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

import mmdet_srn  # noqa: F401
from mmdet_srn.models import SRNHead
from tests.test_config_folders.image_batch import train_and_detect

REUSE = Path(__file__).resolve().parents[2] / 'configs' / 'reuse'
# Of each config, the one of mmdet that it inherits, and its necks.
RETINANET = 'retinanet/retinanet_r50_fpn_1x_coco.py'
CASES = {
    'retinanet_r50_fpn_srn_coco': (RETINANET, ['FPN']),
    'retinanet_r50_srnfpn_p3_srn_coco': (RETINANET, ['SRNFPN']),
    'retinanet_r50_pafpn_srn_coco': (RETINANET, ['PAFPN']),
    'retinanet_swin_t_fpn_srn_coco': (
        'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
        ['FPN'],
    ),
    'retinanet_pvtv2_b0_fpn_srn_coco': (
        'pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',
        ['FPN'],
    ),
    'atss_r50_fpn_dyhead_rfe_srn_coco': (
        'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
        ['FPN', 'DyHead', 'RFE'],
    ),
    'ssdlite_mobilenetv2_srn_coco': (
        'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
        ['SSDNeck', 'ChannelMapper'],
    ),
}
ALONE = {'retinanet_r50_fpn_widerface'}  # test_parts_alone.py


def load(name: str) -> Config:
    """Load a config, without what makes a test slow."""
    cfg = Config.fromfile(REUSE / f'{name}.py')
    cfg.model.backbone.init_cfg = None  # no network
    cfg.model.test_cfg.score_thr = 0.0
    for neck in cfg.model.neck if isinstance(cfg.model.neck, list) else []:
        if neck.type == 'DyHead':
            neck.num_blocks = 1
    return cfg


def test_every_config_is_tested():
    names = {path.stem for path in REUSE.glob('*.py')}
    assert names == CASES.keys() | ALONE


def test_readme_shows_the_config():
    source = (REUSE / 'retinanet_r50_fpn_srn_coco.py').read_text()
    code = source[source.index('_base_') :]
    assert f'```python\n{code}```' in (REUSE / 'README.md').read_text()


@pytest.mark.parametrize('name', CASES)
def test_only_the_model_is_changed(name, tmp_path):
    """Data, schedule and test settings are mmdet's."""
    ours = Config.fromfile(REUSE / f'{name}.py').to_dict()
    assert ours.pop('custom_imports')['imports'] == ['mmdet_srn']
    (tmp_path / 'stock.py').write_text(f"_base_ = 'mmdet::{CASES[name][0]}'")
    stock = Config.fromfile(tmp_path / 'stock.py').to_dict()
    model, stock_model = ours.pop('model'), stock.pop('model')
    assert ours == stock
    for key in ('type', 'data_preprocessor', 'test_cfg'):
        assert model[key] == stock_model[key]
    head, stock_head = model['bbox_head'], stock_model['bbox_head']
    for key in ('num_classes', 'anchor_generator', 'bbox_coder'):
        assert head[key] == stock_head[key]


@pytest.mark.parametrize('name', CASES)
def test_trains_and_detects(name):
    cfg = load(name)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    assert type(model.bbox_head) is SRNHead
    necks = model.neck if isinstance(model.neck, nn.Sequential) else [model.neck]
    assert [type(neck).__name__ for neck in necks] == CASES[name][1]
    # SSD ends in 1x1 maps, whose batch norms need two images.
    number, size = (2, 320) if name.startswith('ssd') else (1, 96)
    losses, objects = train_and_detect(model, number, size, 80)
    assert losses.keys() == {
        *('loss', 'loss_cls_first', 'loss_bbox_first', 'loss_cls_second'),
        *('loss_bbox_second', 'num_pos_first', 'num_pos_second', 'stc_survivors'),
    }
    assert losses['num_pos_second'] > 0
    assert 0 < len(objects) <= cfg.model.test_cfg.max_per_img
    assert objects.labels.max() < 80
