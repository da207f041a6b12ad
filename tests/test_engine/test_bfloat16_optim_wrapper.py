"""bfloat16 where it is safe, float32 where it is not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

from mmdet_srn.engine import BFloat16OptimWrapper
from tests.training import SMALL_MODEL


@pytest.fixture
def model(repo_root: Path) -> torch.nn.Module:
    cfg = Config.fromfile(repo_root / 'configs/srn_r50_fpn_widerface.py')
    cfg.merge_from_dict(SMALL_MODEL)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    model.init_weights()
    # Deltas and scores that are not all the same, or the first step drops nothing.
    for predictor in (model.bbox_head.conv_reg, model.bbox_head.conv_cls_first):
        torch.nn.init.normal_(predictor.weight, std=0.1)
    return model.train()


def wrap(model: torch.nn.Module, kind: type = BFloat16OptimWrapper, **options: Any):
    return kind(torch.optim.SGD(model.parameters(), lr=0.01), **options)


def batch() -> dict[str, Any]:
    boxes = torch.tensor([[20.0, 30.0, 60.0, 80.0], [70.0, 64.0, 86.0, 84.0]])
    samples = [
        DetDataSample(
            gt_instances=InstanceData(bboxes=boxes[:n], labels=torch.zeros(n).long()),
            metainfo=dict(img_shape=(128, 128), scale_factor=(1.0, 1.0)),
        )
        for n in (2, 0)
    ]
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def test_only_the_network_is_in_bfloat16(model):
    wrapper = wrap(model)
    head, seen = model.bbox_head, {}

    def record(name: str) -> Any:
        def hook(module: Any, args: tuple, kwargs: dict, output: Any = None) -> None:
            tensors = [*args, *kwargs.values()]
            seen[name] = {t.dtype for t in tensors if torch.is_tensor(t)}

        return hook

    head.conv_cls.register_forward_hook(record('predictor'), with_kwargs=True)
    head.loss_cls.register_forward_pre_hook(record('loss_cls'), with_kwargs=True)
    head.loss_bbox.register_forward_pre_hook(record('loss_bbox'), with_kwargs=True)
    assign = head.assigner.assign

    def assign_recorded(priors: InstanceData, *args: Any) -> Any:
        seen['priors'] = {priors.priors.dtype}
        return assign(priors, *args)

    head.assigner.assign = assign_recorded
    losses = model.train_step(batch(), wrapper)
    floats = {
        name: {t for t in types if t.is_floating_point} for name, types in seen.items()
    }
    assert floats == {
        'predictor': {torch.bfloat16},
        'loss_cls': {torch.float32},
        'loss_bbox': {torch.float32},
        'priors': {torch.float32},
    }
    assert all(value.dtype == torch.float32 for value in losses.values())


def gradients(model: torch.nn.Module, kind: type, data: dict) -> tuple[Any, Any]:
    wrapper = wrap(model, kind)
    model.zero_grad()
    with wrapper.optim_context(model):
        inputs = model.data_preprocessor(data, True)
        losses = model(**inputs, mode='loss')
    total, parts = model.parse_losses(losses)
    wrapper.backward(wrapper.scale_loss(total))
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert {grad.dtype for grad in grads} == {torch.float32}
    return parts, torch.cat(grads)


def test_losses_and_gradients_are_near_those_of_float32(model):
    data = batch()
    parts, grads = gradients(model, OptimWrapper, data)
    half_parts, half_grads = gradients(model, BFloat16OptimWrapper, data)
    assert 0 < parts['stc_survivors'] < 1 and parts['num_pos_second'] > 0
    # Of these no two precisions agree on as many: an untrained first step scores
    # 0.01, which is 1 - theta.
    del parts['stc_survivors']
    for name, value in parts.items():
        torch.testing.assert_close(half_parts[name], value, rtol=0.02, atol=0.002)
    assert not torch.equal(half_grads, grads)  # it was another precision
    cosine = torch.cosine_similarity(half_grads, grads, dim=0)
    assert cosine > 0.99 and half_grads.norm() / grads.norm() == pytest.approx(1, 0.03)
