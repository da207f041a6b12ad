"""Where training starts, and what one loss costs on a GPU."""

import math
from collections import Counter

import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_srn.models.task_modules.assigners import grid_max_iou_assigner
from tests.conftest import REPO_ROOT

SIZE = 256
STRIDES = (4, 8, 16, 32, 64, 128)


def build_head(**kwargs):
    cfg = Config.fromfile(REPO_ROOT / 'configs' / 'srn_r50_fpn_widerface.py').model
    head = {**cfg.bbox_head, 'train_cfg': cfg.train_cfg, **kwargs}
    head = MODELS.build(head)
    head.init_weights()
    return head


def make_maps(number, channels, size):
    """Maps as a pyramid with pretrained backbone gives them: values around 1."""
    return [torch.randn(number, channels, size // s, size // s) for s in STRIDES * 2]


def make_faces(number, size):
    """Faces of 10 to 200 pixels."""
    side = 10 * 20 ** torch.rand(number, 1)
    centre = torch.rand(number, 2) * size
    boxes = torch.cat([centre - side / 2, centre + side * 0.6], dim=1)
    return InstanceData(bboxes=boxes, labels=torch.zeros(number, dtype=torch.long))


def make_metas(number, size):
    shape = (size, size)
    return [
        dict(img_shape=shape, pad_shape=shape, batch_input_shape=shape)
        for _ in range(number)
    ]


def overlaps_after_refining(head):
    """Mean IoU of the first refined boxes with their anchors, on each STR level."""
    _, first_deltas, _, _ = head(make_maps(2, 256, SIZE))
    sizes = [(SIZE // s, SIZE // s) for s in STRIDES]
    anchors = head.prior_generator.grid_priors(sizes, device='cpu')
    means = []
    for level, deltas in zip(head.str_levels, first_deltas, strict=True):
        rows = deltas.permute(0, 2, 3, 1).reshape(2, -1, 4)
        own = anchors[level].expand(2, -1, -1)
        ious = bbox_overlaps(
            head.refine(own, rows).flatten(0, 1), own.flatten(0, 1), is_aligned=True
        )
        means.append(ious.mean().item())
    return means


def test_first_refined_boxes_are_near_the_anchors():
    """With Xavier's predictors they are noise."""
    assert min(overlaps_after_refining(build_head())) > 0.75
    cfg = Config.fromfile(REPO_ROOT / 'configs/ablations/predictor_xavier.py')
    xavier = build_head(init_cfg=cfg.model.bbox_head.init_cfg)
    assert max(overlaps_after_refining(xavier)) < 0.5


def test_first_loss_is_that_of_the_prior():
    """Every anchor says .01: focal loss by hand, from the numbers of anchors."""
    head = build_head()
    gts = [make_faces(8, SIZE) for _ in range(2)]
    outs = head(make_maps(2, 256, SIZE))
    losses = head.loss_by_feat(*outs, gts, make_metas(2, SIZE))
    positive = -0.25 * 0.99**2 * math.log(0.01)
    negative = -0.75 * 0.01**2 * math.log(0.99)
    second = losses['num_pos_second'].item()
    # around half of the first step's scores are below the prior, and theta's filter
    anchors = 2 * 2 * sum((SIZE // s) ** 2 for s in STRIDES)
    high = positive + anchors * negative / second
    assert positive * 0.9 < losses['loss_cls_second'].item() < high * 1.1
    # RetinaNet's beta: less than the distance to a face, |delta| - beta / 2
    assert 0 < losses['loss_bbox_second'].item() < 4


class CountOperations(TorchDispatchMode):
    """Counts what a GPU would launch, and what waits for it."""

    def __init__(self):
        super().__init__()
        self.launches = Counter()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix('aten::')
        self.launches[name] += 1
        by_mask = name in ('index', 'index_put', 'index_put_') and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        waiting = ('nonzero', '_local_scalar_dense', 'masked_select', 'unique_dim')
        if by_mask or name in waiting:
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_loss_launches_little_and_waits_seldom_on_a_gpu(monkeypatch):
    """Batch 4 at 1024x1024 with 15 faces an image, by the way that a GPU takes."""
    monkeypatch.delitem(grid_max_iou_assigner.DENSE_PAIRS, 'cpu')
    head = build_head(in_channels=1, feat_channels=1, rfe_cfg=None)
    outs = head(make_maps(4, 1, 1024))
    gts = [make_faces(15, 1024) for _ in range(4)]
    with CountOperations() as counted:
        head.loss_by_feat(*outs, gts, make_metas(4, 1024))
    assert 100 < counted.launches.total() <= 1300
    assert 0 < counted.waits.total() <= 80
