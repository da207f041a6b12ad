"""SRNFPN and SRNHead in a detector: the second step where it is needed."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.partial_map import PartialMap
from tests.conftest import REPO_ROOT
from tests.test_models.test_dense_heads.test_srn_head_sparse import assert_same


def detector(deferred_levels):
    """The config's network, slim, whose first step leaves a part."""
    cfg = Config.fromfile(REPO_ROOT / 'configs' / 'srn_r50_fpn_widerface.py').model
    cfg.backbone.update(depth=18, base_channels=4, init_cfg=None)
    cfg.neck.update(
        in_channels=[4, 8, 16, 32],
        out_channels=8,
        extra_channels=(16, 8),
        deferred_levels=deferred_levels,
    )
    cfg.bbox_head.update(in_channels=8, feat_channels=8)
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg, _scope_='mmdet'))
    model.init_weights()
    for name, gain in dict(conv_cls_first=30, conv_cls=4, conv_reg=0.1).items():
        torch.nn.init.xavier_uniform_(getattr(model.bbox_head, name).weight, gain)
    return model.eval()


def data(*sizes):
    rng = np.random.default_rng(0)
    return dict(
        inputs=[
            torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
            for size in sizes
        ],
        data_samples=[
            DetDataSample(
                metainfo=dict(ori_shape=s, img_shape=s, scale_factor=(1.0, 1.0))
            )
            for s in sizes
        ],
    )


@pytest.fixture
def calls(monkeypatch):
    """Cells that each call asks for; multiply-adds alone decide."""
    asked = []
    stock = PartialMap.apply

    def noted(self, module, cells):
        asked.append(cells.mask.float().mean().item())
        return stock(self, module, cells)

    monkeypatch.setattr(PartialMap, 'apply', noted)
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    return asked


def test_detector(calls):
    """Images of a batch, odd sizes, maps deferred or not."""

    def detect(model, second_step):
        model.bbox_head.test_cfg.second_step = second_step
        with torch.no_grad():
            found = model.test_step(data((131, 97), (131, 97)))
        return [sample.pred_instances for sample in found]

    plain, deferred = detector(()), detector((0, 1, 2))
    expected = detect(plain, 'dense')
    assert not calls
    for model in (plain, deferred):
        for second_step in ('sparse', 'auto'):
            assert_same(detect(model, second_step), expected)
    assert all(len(each) > 100 for each in expected)
    assert min(calls) < 0.3 < 0.6 < max(calls)
