"""While a run is tested its backbone is a folded one; then nothing of it is left."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.models import SingleStageDetector
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from tests.test_benchmark.small_detector import build
from tests.training import small_config


def norms_in(backbone: nn.Module) -> int:
    """How many batch norms are computed in a call."""
    called = []
    with nn.modules.module.register_module_forward_hook(
        lambda module, *_: called.append(isinstance(module, nn.BatchNorm2d))
    ):
        backbone(torch.zeros(1, 3, 64, 64))
    assert called
    return sum(called)


class LeaveAverageHook(Hook):
    """Moves the run's own weights far from their average."""

    def after_train_epoch(self, runner: Runner) -> None:
        with torch.no_grad():
            runner.model.backbone.layer1[0].conv1.weight *= -3


@pytest.mark.parametrize(
    ('loop', 'wrap'), [('val', lambda model: model), ('test', nn.Sequential)]
)
def test_folded_in_the_meantime(loop, wrap, tmp_path):
    detector = build(tmp_path)
    backbone = detector.backbone
    runner = SimpleNamespace(model=wrap(detector))
    hook = HOOKS.build(dict(type='FoldNormsHook'))
    before, keys = dict(vars(backbone)), list(detector.state_dict())
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = backbone(image)
        for _ in range(2):
            assert norms_in(backbone) == 20
            getattr(hook, f'before_{loop}_epoch')(runner)
            assert norms_in(backbone) == 0
            assert list(detector.state_dict()) == keys
            found = backbone(image)
            getattr(hook, f'after_{loop}_epoch')(runner, {})
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert vars(backbone) == before


def test_a_test_that_is_broken_off_leaves_nothing_old(tmp_path):
    detector = build(tmp_path)
    backbone = detector.backbone
    runner = SimpleNamespace(model=detector)
    hook = HOOKS.build(dict(type='FoldNormsHook'))
    hook.before_val_epoch(runner)  # and nothing after
    with torch.no_grad():
        backbone.layer1[0].conv1.weight *= 2
    hook.before_val_epoch(runner)
    image = torch.randn(1, 3, 96, 64)
    assert norms_in(backbone) == 0
    with torch.no_grad():
        found, expected = backbone(image), type(backbone).forward(backbone, image)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    hook.before_train(runner)
    assert 'forward' not in vars(backbone) and norms_in(backbone) == 20


def test_a_forward_of_its_own_stays(tmp_path):
    detector = build(tmp_path)
    forward = detector.backbone.forward = lambda images: (images,)
    hook = HOOKS.build(dict(type='FoldNormsHook'))
    hook.before_val_epoch(SimpleNamespace(model=detector))
    assert detector.backbone.forward is forward
    hook.after_val_epoch(SimpleNamespace(model=detector))
    assert detector.backbone.forward is forward


def test_in_a_run_with_averaged_weights(data, tmp_path, monkeypatch):
    """EMAHook's weights are in before, and the run's own come back after."""
    seen = []
    extract_feat = SingleStageDetector.extract_feat

    def record(self: SingleStageDetector, inputs: torch.Tensor) -> Any:
        if not self.training:
            backbone = self.backbone
            with torch.no_grad():
                own = type(backbone).forward(backbone, inputs)
                seen.append((norms_in(backbone), backbone(inputs), own))
        return extract_feat(self, inputs)

    monkeypatch.setattr(SingleStageDetector, 'extract_feat', record)
    cfg = small_config('srn_r50_fpn_widerface_ema', data, tmp_path)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(LeaveAverageHook())
    runner.train()
    weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.test()
    assert len(seen) == 4  # two images, validated and tested
    for norms, found, expected in seen:
        assert norms == 0
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    runner.model.eval()
    assert norms_in(runner.model.backbone) == 20
    after = runner.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in weights.items())
