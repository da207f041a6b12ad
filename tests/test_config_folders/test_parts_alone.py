"""SRN's parts, each alone in one of mmdet's own detectors."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_srn.models import RFE, TwoStageFocalLoss
from tests.test_config_folders.image_batch import image_batch
from tests.training import logged, small_config, write_data_set

REUSE = Path(__file__).resolve().parents[2] / 'configs' / 'reuse'


def small_retinanet(folder: Path) -> dict:
    """mmdet's RetinaNet on COCO's classes, with few channels."""
    (folder / 'retinanet.py').write_text(
        "_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'"
    )
    cfg = Config.fromfile(folder / 'retinanet.py')
    cfg.merge_from_dict(
        {
            'model.backbone.depth': 18,
            'model.backbone.base_channels': 8,
            'model.backbone.init_cfg': None,
            'model.neck.in_channels': [8, 16, 32, 64],
            'model.neck.out_channels': 16,
            'model.bbox_head.in_channels': 16,
            'model.bbox_head.feat_channels': 16,
        }
    )
    return cfg.model


def train_two_steps(cfg: dict) -> tuple[nn.Module, dict[str, Tensor]]:
    model = MODELS.build(dict(cfg, _scope_='mmdet'))
    model.init_weights()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    for _ in range(2):
        losses = model.train_step(image_batch(2, 96, 80), optimizer)
        assert all(value.isfinite() for value in losses.values())
    return model, losses


def test_assigner_gives_retinanets_losses_on_coco_sizes(tmp_path):
    """GridMaxIoUAssigner instead of MaxIoUAssigner: the same to the last bit."""
    cfg = small_retinanet(tmp_path)
    cfg.bbox_head.num_classes = 2  # of 80, to save time; matching knows no classes
    heads = {}
    for name in ('MaxIoUAssigner', 'GridMaxIoUAssigner'):
        head_cfg = dict(cfg.bbox_head, train_cfg=copy.deepcopy(cfg.train_cfg))
        head_cfg['train_cfg'].assigner.type = name
        heads[name] = MODELS.build(dict(head_cfg, _scope_='mmdet'))
        assert type(heads[name].assigner).__name__ == name

    generator = torch.Generator().manual_seed(0)
    shape, real = (800, 1344), (800, 1333)  # padded to a multiple of 32
    sizes = [(-(-shape[0] // s), -(-shape[1] // s)) for s in (8, 16, 32, 64, 128)]
    anchors = heads['MaxIoUAssigner'].num_base_priors
    scores, deltas = (
        [torch.randn(2, anchors * c, *size, generator=generator) for size in sizes]
        for c in (2, 4)
    )
    boxes = []
    for number in (30, 7):
        # COCO's: from a few pixels to the whole image
        sides = 6 * 100 ** torch.rand(number, 2, generator=generator)
        corners = torch.rand(number, 2, generator=generator) * torch.tensor([900, 400])
        labels = torch.randint(2, (number,), generator=generator)
        bboxes = torch.cat([corners, corners + sides], dim=1)
        boxes.append(InstanceData(bboxes=bboxes, labels=labels))
    meta = dict(img_shape=real, pad_shape=shape, batch_input_shape=shape)
    stock, ours = (
        head.loss_by_feat(scores, deltas, boxes, [meta, meta])
        for head in heads.values()
    )
    assert stock.keys() == ours.keys() == {'loss_cls', 'loss_bbox'}
    for name, levels in stock.items():
        assert sum(levels) > 0
        for theirs, mine in zip(levels, ours[name], strict=True):
            assert torch.equal(theirs, mine)


def test_rfe_as_a_neck_of_retinanet(tmp_path):
    cfg = small_retinanet(tmp_path)
    cfg.neck = [cfg.neck, dict(type='RFE', in_channels=16)]
    model, losses = train_two_steps(cfg)
    assert losses.keys() == {'loss', 'loss_cls', 'loss_bbox'}
    assert type(model.bbox_head) is RetinaHead
    (rfe,) = (neck for neck in model.neck if type(neck) is RFE)
    with torch.no_grad():
        maps = model.neck[0](model.backbone(torch.randn(1, 3, 96, 96)))
    assert all(torch.equal(a, rfe(b)) for a, b in zip(rfe(maps), maps, strict=True))


@MODELS.register_module()
class TwiceClassifyingHead(RetinaHead):
    """RetinaNet's head with a second classification that looks at what the first
    leaves, on all levels: what SRN's loss needs of a head that is not SRN's."""

    def _init_layers(self) -> None:
        super()._init_layers()
        self.first_cls = nn.Conv2d(self.feat_channels, self.retina_cls.out_channels, 1)
        self.two_stage_loss = TwoStageFocalLoss(theta=0.5)

    def loss(self, x: tuple[Tensor, ...], samples: list[DetDataSample]) -> dict:
        first = []
        hook = self.cls_convs[-1].register_forward_hook(
            lambda _, __, features: first.append(self.first_cls(features))
        )
        second, deltas = self(x)
        hook.remove()
        infos = [sample.metainfo for sample in samples]
        sizes = [scores.shape[-2:] for scores in second]
        anchors, valid = self.get_anchors(sizes, infos, device=x[0].device)
        boxes = [sample.gt_instances for sample in samples]
        labels, weights, *_, total = self.get_targets(anchors, valid, boxes, infos)
        avg_factor = reduce_mean(torch.tensor(float(total)))
        rows = [
            torch.cat(
                [
                    level.permute(0, 2, 3, 1).reshape(-1, self.cls_out_channels)
                    for level in step
                ]
            )
            for step in (first, second)
        ]
        labels, weights = (
            torch.cat([level.flatten() for level in levels])
            for levels in (labels, weights)
        )
        loss_first, loss_second = self.two_stage_loss(
            *rows,
            labels,
            labels,
            weights,
            weights,
            first_avg_factor=avg_factor,
            second_avg_factor=avg_factor,
        )
        stock = self.loss_by_feat(second, deltas, boxes, infos)
        return dict(
            loss_first=loss_first,
            loss_second=loss_second,
            loss_bbox=stock['loss_bbox'],
            stock=sum(stock['loss_cls']).detach(),
        )


def test_two_stage_focal_loss_in_another_head(tmp_path):
    cfg = small_retinanet(tmp_path)
    cfg.bbox_head.type = 'TwiceClassifyingHead'
    model, losses = train_two_steps(cfg)
    assert losses['loss_first'] > 0 and losses['loss_second'] > 0
    # The prior is .01: above theta nothing but the positives is left.
    assert losses['loss_second'] < losses['stock']
    # A filter that lets all pass is the stock loss.
    model.bbox_head.two_stage_loss.theta = 1.0
    data = model.data_preprocessor(image_batch(2, 96, 80), True)
    losses = model(**data, mode='loss')
    torch.testing.assert_close(losses['loss_second'], losses['stock'])


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', [2, 3])


def test_data_set_and_metric_in_retinanets_loops(root, tmp_path):
    """configs/reuse/retinanet_r50_fpn_widerface.py: no part of SRN's network."""
    cfg = small_config('reuse/retinanet_r50_fpn_widerface', root, tmp_path / 'run')
    del cfg.model.neck['extra_channels']  # which SRNFPN alone has
    cfg.model.test_cfg.score_thr = 0.0
    runner = Runner.from_cfg(cfg)
    assert type(runner.model.bbox_head) is RetinaHead
    assert type(runner.model.bbox_head.assigner).__name__ == 'GridMaxIoUAssigner'
    runner.train()
    (trained,) = [row for row in logged(tmp_path / 'run') if 'loss' in row]
    assert math.isfinite(trained['loss_cls']) and math.isfinite(trained['loss_bbox'])
    metrics = runner.test()
    assert metrics['widerface/faces'] == 6
    assert 0 <= metrics['widerface/AP'] <= 1
    assert metrics['widerface/protocol'] == 'original'
