"""The variations of the recipe: each trains, and does what it is there for."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from torch import nn

from tests.training import logged, losses, small_config

BASE = 'srn_r50_fpn_widerface'


def train(data: Path, work_dir: Path, variation: str, **options: Any) -> Runner:
    """Two iterations, a validation and a checkpoint."""
    name = f'{BASE}_{variation}' if variation else BASE
    options = {'randomness__seed': 0, **options}
    runner = Runner.from_cfg(small_config(name, data, work_dir, **options))
    runner.train()
    assert (work_dir / 'epoch_1.pth').is_file()
    rows = logged(work_dir)
    assert any('widerface/AP' in row for row in rows)
    assert all(torch.tensor(row['loss']).isfinite() for row in rows if 'loss' in row)
    return runner


def saved(work_dir: Path) -> dict[str, Any]:
    return torch.load(work_dir / 'epoch_1.pth', weights_only=False)


@pytest.fixture(scope='module')
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the base config, whose 8 processes of 4 images are 1 of 2 here."""
    work_dir = tmp_path_factory.mktemp('plain') / 'run'
    train(data, work_dir, '')
    return work_dir


def test_what_is_logged_and_saved(plain):
    steps = {'loss_cls', 'loss_bbox', 'num_pos'}
    expected = {f'{name}_{step}' for name in steps for step in ('first', 'second')}
    rows = [row for row in logged(plain) if 'loss' in row]
    assert len(rows) == 2
    assert all(set(row) >= expected | {'stc_survivors'} for row in rows)
    checkpoint = plain / 'epoch_1.pth'
    assert (plain / 'last_checkpoint').read_text() == str(checkpoint)
    assert saved(plain)['meta']['dataset_meta']['classes'] == ('face',)


def test_1gpu_steps_once_in_the_papers_batch(data, repo_root, tmp_path):
    cfg = Config.fromfile(repo_root / f'configs/{BASE}_1gpu.py')
    counts = cfg.optim_wrapper.accumulative_counts
    step_size = cfg.train_dataloader.sampler.step_size
    assert cfg.train_dataloader.batch_size * counts == step_size == 32
    # --auto-scale-lr leaves the rate of a batch of 32 alone
    assert cfg.auto_scale_lr.base_batch_size * counts == 32

    # 16 iterations of 2 images, of which 4 differ
    work_dir = tmp_path / 'run'
    runner = train(
        data,
        work_dir,
        '1gpu',
        auto_scale_lr__enable=True,
        auto_scale_lr__base_batch_size=2,
    )
    rows = [row for row in logged(work_dir) if 'loss' in row]
    assert [row['step'] for row in rows] == list(range(1, 17))
    # the warm-up counts batches, eight of which make a step
    start, end = runner.cfg.param_scheduler[0].start_factor, 500 * counts
    warm = [0.01 * (start + (1 - start) * i / (end - 1)) for i in range(16)]
    assert [row['lr'] for row in rows if 'lr' in row] == pytest.approx(warm, rel=1e-4)
    assert runner.optim_wrapper.inner_count == 16
    steps = [i for i, row in enumerate(rows, 1) if 'grad_norm' in row]
    assert steps[0] == 8  # nothing to clip before


def test_ema_is_validated_and_saved(data, plain, tmp_path, monkeypatch):
    seen = []
    val_step = MODELS.get('SingleStageDetector').val_step

    def record(self: nn.Module, batch: Any) -> Any:
        seen.append({k: v.clone() for k, v in self.state_dict().items()})
        return val_step(self, batch)

    monkeypatch.setattr(MODELS.get('SingleStageDetector'), 'val_step', record)
    runner = train(data, tmp_path, 'ema')
    checkpoint = saved(tmp_path)
    raw = {
        name.removeprefix('module.'): value
        for name, value in checkpoint['ema_state_dict'].items()
    }
    after, without = runner.model.state_dict(), saved(plain)['state_dict']
    differing = 0
    for name, value in checkpoint['state_dict'].items():
        assert torch.equal(seen[0][name], value)  # averaged ones are validated
        assert torch.equal(after[name], raw[name])  # and training has its own back
        assert torch.equal(without[name], raw[name])
        differing += not torch.equal(value, raw[name])
    assert differing > 100


def test_deterministic_run_is_the_same_twice(data, plain, tmp_path):
    """With other states of the generators before; on a CPU, any run of one seed is."""
    try:
        torch.rand(1)
        train(data, tmp_path, 'deterministic')
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert losses(plain) == losses(tmp_path)
    one, two = (saved(run)['state_dict'] for run in (plain, tmp_path))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_checkpointing_computes_the_same(data, plain, tmp_path):
    """But for BN's running statistics, which move twice."""
    train(data, tmp_path, 'checkpointing')
    assert losses(tmp_path) == losses(plain)
    one, two = (saved(run)['state_dict'] for run in (plain, tmp_path))
    moved = set()
    for name, value in one.items():
        if 'running_' in name or 'num_batches' in name:
            if not torch.equal(value, two[name]):
                moved.add('.'.join(name.split('.')[:3]))
        else:
            torch.testing.assert_close(value, two[name], rtol=1e-5, atol=1e-7)
    # Not the first block: the stem is frozen, so its input needs no gradient.
    blocks = [f'layer{i}.{j}' for i in range(1, 5) for j in range(2)]
    assert moved == {f'backbone.{block}' for block in blocks[1:]}


def kept_for_backward(repo_root: Path, variation: str) -> int:
    """Bytes that the real network's graph keeps for one image of 256x256."""
    cfg = Config.fromfile(repo_root / f'configs/{BASE}{variation}.py')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(dict(cfg.model, _scope_='mmdet')).to('meta').train()
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.empty(1, 3, 256, 256, device='meta'), mode='tensor')
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_checkpointing_keeps_less(repo_root):
    """The figures in the config's comment, at a sixteenth of its size."""
    whole, less = (kept_for_backward(repo_root, v) for v in ('', '_checkpointing'))
    assert whole * 16 / 2**30 == pytest.approx(3.8, rel=0.03)
    assert less * 16 / 2**30 == pytest.approx(2.9, rel=0.03)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 needs a GPU')
@pytest.mark.parametrize('options', [{}, {'optim_wrapper__loss_scale': 2.0**40}])
def test_fp16_trains_on_a_gpu(data, tmp_path, options):
    """Also where the first steps are skipped: no reason to stop the run."""
    runner = train(data, tmp_path, 'amp_fp16', **options)
    assert runner.optim_wrapper.loss_scaler.is_enabled()


def test_fp16_config_is_what_amp_does(repo_root):
    cfg = Config.fromfile(repo_root / f'configs/{BASE}_amp_fp16.py')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.optim_wrapper.dtype == 'float16'


def test_bf16_trains_on_a_cpu_with_tensorboard_and_a_scaled_rate(data, plain, tmp_path):
    """TensorBoard by the line of the README, as mmengine parses it."""
    pytest.importorskip('tensorboard', reason='needs the extra tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    flag = ['--cfg-options', 'visualizer.vis_backends.0.type=TensorboardVisBackend']
    scaled = dict(randomness__seed=0, auto_scale_lr__enable=True)
    cfg = small_config(f'{BASE}_amp_bf16', data, tmp_path, **scaled)
    cfg.merge_from_dict(parser.parse_args(flag).cfg_options)
    Runner.from_cfg(cfg).train()
    (folder,) = tmp_path.glob('*/vis_data')
    events = EventAccumulator(str(folder))
    events.Reload()
    losses_, rates = events.Scalars('loss'), events.Scalars('lr')
    assert [event.step for event in losses_] == [1, 2]
    assert len(events.Scalars('widerface/AP')) == 1
    first, *_ = (row for row in logged(plain) if 'loss' in row)
    assert rates[0].value == pytest.approx(first['lr'] * 2 / 32)
    assert losses_[0].value != first['loss']
    assert losses_[0].value == pytest.approx(first['loss'], rel=0.02)
