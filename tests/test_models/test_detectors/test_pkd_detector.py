"""A small SRN beside a teacher of another backbone and another normalisation."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from mmdet_srn.model_loader import load_detector
from mmdet_srn.models.detectors import PKDDetector
from mmdet_srn.models.losses import PKDLoss
from mmdet_srn.models.sparse.deferred_map import to_dense
from tests.test_config_folders.image_batch import image_batch
from tests.training import SMALL_MODEL


@pytest.fixture(scope='module')
def cfg(repo_root):
    cfg = Config.fromfile(repo_root / 'configs/successors/pkd.py')
    teacher = Config.fromfile(cfg.model.teacher_config)
    assert teacher.model.backbone.depth == 101
    for each in (cfg, teacher):
        each.merge_from_dict(SMALL_MODEL)
    teacher.model.backbone.base_channels = 4
    teacher.model.neck.in_channels = [4, 8, 16, 32]
    teacher.model.data_preprocessor.update(mean=[127.0] * 3, std=[128.0] * 3)
    cfg.model.update(teacher_config=teacher, teacher_ckpt=None)
    return cfg


def build(cfg, init=True, **options):
    torch.manual_seed(0)
    model = {**copy.deepcopy(cfg.model), '_scope_': 'mmdet', **options}
    model = MODELS.build(model)
    for part in (model, model.teacher_model) if init else ():
        part.init_weights()
        torch.nn.init.normal_(part.bbox_head.conv_cls_first.weight, std=0.3)
    model.train()
    return model


@pytest.mark.parametrize('weigh_cells', [False, True])
def test_loss_is_the_mean_over_the_maps(cfg, weigh_cells):
    model = build(cfg, weigh_cells=weigh_cells)
    assert isinstance(model, PKDDetector)
    data = model.data_preprocessor(image_batch(2, 96), training=True)
    losses = model.loss(data['inputs'], data['data_samples'])
    teacher = model.teacher_model
    seen = teacher.data_preprocessor(image_batch(2, 96), training=True)['inputs']
    with torch.no_grad():
        theirs = [to_dense(each) for each in teacher.extract_feat(seen)]
        first, _, scores, _ = teacher.bbox_head(theirs)
        own = model.extract_feat(data['inputs'])
    best = [each.sigmoid().amax(1, keepdim=True) for each in [*first, *scores[3:]]]
    weights = best * 2 if weigh_cells else [None] * 12
    loss = PKDLoss(loss_weight=cfg.model.loss_pkd.loss_weight)
    expected = [loss(*each) for each in zip(own, theirs, weights, strict=True)]
    expected = sum(expected) / 12
    assert losses['loss_pkd'].item() == pytest.approx(expected.item(), rel=1e-4)
    # the rest is what the head says alone
    alone = model.bbox_head.loss(own, data['data_samples'])
    assert losses.keys() == alone.keys() | {'loss_pkd'}


def test_shared_maps_count_once(cfg):
    model = build(cfg)
    data = model.data_preprocessor(image_batch(1, 96), training=True)
    maps = [torch.randn(1, 16, side, side) for side in (24, 12, 6, 3, 2, 1)]
    model.extract_feat = lambda _: (*maps, *maps)
    model.bbox_head.loss = lambda *_: {}
    taken = []
    model.loss_pkd.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    model.loss(data['inputs'], data['data_samples'])
    assert len(taken) == 6 and all(a is b for a, b in zip(taken, maps, strict=True))


def test_only_the_student_learns_and_is_saved(cfg):
    model = build(cfg)
    before = copy.deepcopy(model.teacher_model.state_dict())
    student = dict(cfg.model, type='SingleStageDetector', _scope_='mmdet')
    for key in ('teacher_config', 'teacher_ckpt', 'loss_pkd'):
        student.pop(key)
    MODELS.build(student).load_state_dict(model.state_dict())
    unread = {key for key, p in model.named_parameters() if p.requires_grad}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, key=key: unread.discard(key))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    losses = model.train_step(image_batch(2, 96), optimizer)
    assert all(value.isfinite() for value in losses.values())
    assert unread == set()  # which would stop distributed training
    after = model.teacher_model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(p.grad is None for p in model.teacher_model.parameters())


def test_teacher_has_all_of_its_weights(cfg, tmp_path):
    state = {k: v + 1 for k, v in build(cfg).teacher_model.state_dict().items()}
    wrapped = {f'module.{key}': value for key, value in state.items()}
    torch.save(dict(state_dict=wrapped), tmp_path / 'teacher.pth')
    model = build(cfg, teacher_ckpt=str(tmp_path / 'teacher.pth'), init=False)
    found = model.teacher_model.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)
    state.pop('bbox_head.conv_cls.weight')
    torch.save(dict(state_dict=state), tmp_path / 'partial.pth')
    with pytest.raises(ValueError, match='partial.pth does not fit'):
        build(cfg, teacher_ckpt=str(tmp_path / 'partial.pth'))


def test_refuses_other_colours(cfg):
    cfg = copy.deepcopy(cfg)
    cfg.model.teacher_config.model.data_preprocessor.bgr_to_rgb = False
    with pytest.raises(ValueError, match='bgr_to_rgb'):
        build(cfg)


def test_the_students_config_detects(cfg, tmp_path):
    """mmdet's distilling detectors return None from eval()."""
    model = build(cfg)
    checkpoint = tmp_path / 'student.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    _, found, _ = load_detector(cfg, checkpoint)
    assert isinstance(found, PKDDetector) and not found.training
