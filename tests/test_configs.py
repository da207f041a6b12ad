"""Every config loads, inherits what it should and builds.

Those in the folders below have tests of their own, in test_config_folders/.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_srn.evaluation.protocols import PROTOCOLS

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
WHOLE = sorted(CONFIGS.glob('*.py'))


def build(path: Path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None  # no network
    return cfg, MODELS.build(dict(cfg.model, _scope_='mmdet'))


def test_no_two_configs_share_a_name():
    """So that mim finds each by its name, wherever it lies."""
    paths = [path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts]
    assert len(paths) > len(WHOLE) > 0
    counts = Counter(path.name for path in paths)
    assert [name for name, number in counts.items() if number > 1] == []


@pytest.mark.parametrize('path', WHOLE, ids=lambda path: path.stem)
def test_builds_and_has_the_anchors_strides(path):
    cfg, model = build(path)
    assert cfg.custom_imports.imports == ['mmdet_srn']
    assert cfg.default_scope == 'mmdet'
    head = model.bbox_head
    model.eval()
    size = 256
    with torch.no_grad():
        outs = model(torch.zeros(1, 3, size, size), mode='tensor')
    assert len(outs[0]) == len(head.stc_levels)
    assert len(outs[1]) == len(head.str_levels)
    assert len(outs[3]) == len(outs[2])
    strides = [size // m.shape[-1] for m in outs[2]]
    assert strides == [s[0] for s in head.prior_generator.strides]


def test_paper_model_and_recipe():
    """The figures of the paper and of the released network."""
    cfg, model = build(CONFIGS / 'srn_r50_fpn_widerface.py')
    head = model.bbox_head
    parameters = sum(p.numel() for p in model.parameters())
    # the released network has one class predictor for both steps
    assert parameters - sum(p.numel() for p in head.conv_cls_first.parameters()) == (
        53_370_698
    )
    assert sum(p.numel() for p in head.cls_subnet.parameters()) == 1_394_176
    predictors = [*head.conv_cls.parameters(), *head.conv_reg.parameters()]
    assert sum(p.numel() for p in predictors) == 2_570
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen == [
        'backbone.conv1.weight',
        'backbone.bn1.weight',
        'backbone.bn1.bias',
    ]
    assert (head.stc_levels, head.str_levels, head.theta) == (
        (0, 1, 2),
        (3, 4, 5),
        0.99,
    )
    thresholds = [
        (a.pos_iou_thr, a.neg_iou_thr, a.match_low_quality)
        for a in (head.first_assigner, head.assigner)
    ]
    assert thresholds == [(0.7, 0.3, False), (0.5, 0.4, False)]
    assert cfg.train_cfg.max_epochs == 130
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.end, warm_up.by_epoch) == ('LinearLR', 500, False)
    assert steps.milestones == [100, 120]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        0.01,
        0.9,
        1e-4,
    )
    assert cfg.auto_scale_lr.base_batch_size == 32
    assert cfg.train_dataloader.batch_size * 8 == 32
    test = cfg.model.test_cfg
    assert (test.max_before_nms, test.nms.iou_threshold, test.max_per_img) == (
        2000,
        0.5,
        750,
    )


def unique(values: Iterable) -> list:
    found = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


@pytest.mark.parametrize('path', WHOLE, ids=lambda path: path.stem)
def test_protocol_is_what_the_pipeline_does(path):
    """A figure is labelled with the scale at which it was made."""
    cfg = Config.fromfile(path)
    for name in ('val', 'test'):
        protocol = cfg[f'{name}_evaluator'].protocol
        dataset = cfg[f'{name}_dataloader'].dataset
        (steps,) = unique(each.pipeline for each in dataset.get('datasets', [dataset]))
        (resize,) = [step for step in steps if step.type == 'Resize']
        scale = PROTOCOLS[protocol].scale
        if scale is None:
            assert resize.scale_factor == 1.0 and 'scale' not in resize
        else:
            assert tuple(resize.scale) == scale and resize.keep_ratio
        assert cfg[f'{name}_dataloader'].batch_size == 1  # nothing is padded
