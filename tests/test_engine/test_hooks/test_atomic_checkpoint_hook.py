"""Whole checkpoints, removed only when their successor is there."""

import fcntl
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine import fileio
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import nn

from mmdet_srn.engine import AtomicCheckpointHook
from mmdet_srn.engine.hooks import atomic_checkpoint_hook
from mmdet_srn.evaluation import WIDERFaceMetric
from tests.test_engine.small_runner import small_runner


class Model(nn.Module):
    """One weight, and 100 kB that are saved with it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer('load', torch.zeros(25_000))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        loss = self.weight.square()
        optim_wrapper.update_params(loss)
        return dict(loss=loss)

    def val_step(self, data: Any) -> list:
        return [data]


class Score(BaseMetric):
    """A score that rises, all in all."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = iter((0.1, 0.2, 0.15, 0.4))

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(AP=next(self.scores))


def runner(
    work_dir: Path,
    hook: dict,
    epochs: int = 4,
    images: int = 1,
    evaluator: Any = None,
    **options: Any,
) -> Runner:
    evaluator = evaluator or Evaluator(Score())
    return small_runner(
        work_dir, Model(), 'val', evaluator, epochs, images, hook, **options
    )


def checkpoints(work_dir: Path) -> set[str]:
    found = set(work_dir.glob('*.pth'))
    assert all(zipfile.ZipFile(path).testzip() is None for path in found)
    assert not list(work_dir.glob('.*.partial'))
    return {path.stem for path in found}


KEEP = dict(max_keep_ckpts=2, save_best='AP', rule='greater')


def test_keeps_what_mmengines_hook_keeps(tmp_path):
    runner(tmp_path / 'ours', KEEP).train()
    theirs = runner(tmp_path / 'theirs', KEEP)
    theirs._hooks = [
        CheckpointHook(interval=1, **KEEP) if 'Atomic' in type(h).__name__ else h
        for h in theirs.hooks
    ]
    theirs.train()
    expected = {'epoch_3', 'epoch_4', 'best_AP_epoch_4'}
    assert (
        checkpoints(tmp_path / 'ours') == checkpoints(tmp_path / 'theirs') == expected
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Makes writing of files with a name fail, once all else is ready."""

    def fail_at(name: str) -> None:
        replace = Path.replace

        def fail(self: Path, target: Path) -> Path:
            if target.stem == name:
                raise OSError(28, 'No space left on device')
            return replace(self, target)

        monkeypatch.setattr(Path, 'replace', fail)

    return fail_at


@pytest.mark.parametrize(
    ('hook', 'fails', 'left'),
    [
        (dict(max_keep_ckpts=1), 'epoch_1', set()),
        (dict(max_keep_ckpts=1), 'epoch_3', {'epoch_2'}),
        (KEEP, 'epoch_4', {'epoch_2', 'epoch_3', 'best_AP_epoch_2'}),
        (KEEP, 'best_AP_epoch_4', {'epoch_2', 'epoch_3', 'epoch_4', 'best_AP_epoch_2'}),
    ],
)
def test_a_failed_write_costs_no_earlier_checkpoint(
    tmp_path, failing, hook, fails, left
):
    # Score 0.15 in epoch 3 is no best one, so epoch_3 is written once, epoch_4 twice.
    if fails == 'best_AP_epoch_4':
        left = left - {'epoch_2'}  # epoch_4 was written before
    failing(fails)
    with pytest.raises(OSError, match='No space left') as caught:
        runner(tmp_path, hook).train()
    assert caught.value.errno == 28
    assert f"{fails}.pth' (" in str(caught.value)
    assert checkpoints(tmp_path) == left
    last = 'The last whole checkpoint: none'
    if left:
        pointed = (tmp_path / 'last_checkpoint').read_text()
        assert Path(pointed).is_file()
        last = f'The last whole checkpoint: {pointed}'
    assert last in str(caught.value)


def resume(work_dir: Path) -> Runner:
    """What --resume makes of the folder, up to the training."""
    again = runner(work_dir, {}, resume=True)
    again._train_loop = again.build_train_loop(again._train_loop)
    again.call_hook('before_run')
    return again


@pytest.mark.parametrize(
    'pointer', ['', None, '/moved/away/epoch_4.pth', 'half', 'other']
)
def test_resume_finds_the_newest_whole_checkpoint(tmp_path, pointer):
    runner(tmp_path, {}).train()
    half = (tmp_path / 'epoch_4.pth').read_bytes()[:60_000]
    (tmp_path / 'epoch_11.pth').write_bytes(half)  # mmengine's own could leave it
    (tmp_path / 'my_epoch_12.pth').touch()
    file = tmp_path / 'last_checkpoint'
    named = {'half': tmp_path / 'epoch_11.pth', 'other': tmp_path / 'epoch_2.pth'}
    if pointer is None:
        file.unlink()
    else:
        file.write_text(str(named.get(pointer, pointer)))
    # A whole one that last_checkpoint names is the user's choice.
    expected = named['other'] if pointer == 'other' else tmp_path / 'epoch_4.pth'
    again = resume(tmp_path)
    assert file.read_text() == str(expected)
    again.load_or_resume()
    assert again.epoch == (2 if pointer == 'other' else 4)


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """A work folder, trained for two epochs, and a copy of it."""
    one, other = tmp_path / 'one', tmp_path / 'other'
    runner(one, KEEP, epochs=2).train()
    shutil.copytree(one, other)
    return one, other


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hook tells; mmengine's logger is none that pytest listens to."""
    messages: list[str] = []
    monkeypatch.setattr(
        atomic_checkpoint_hook, '_warn', lambda text: messages.append(text)
    )
    return messages


def test_resume_in_a_copy_keeps_to_the_copy(copied, said):
    one, other = copied
    before = {path.name: path.read_bytes() for path in one.glob('*.pth')}
    again = runner(other, KEEP, resume=True)
    again.val_evaluator.metrics[0].scores = iter((0.15, 0.4))
    again.train()
    assert {path.name: path.read_bytes() for path in one.glob('*.pth')} == before
    assert checkpoints(other) == {'epoch_3', 'epoch_4', 'best_AP_epoch_4'}
    assert (other / 'last_checkpoint').read_text() == str(other / 'epoch_4.pth')
    pointer, best = said
    assert f'now it names {other / "epoch_2.pth"}' in pointer
    assert f'now it is {other / "best_AP_epoch_2.pth"}' in best


def test_resume_in_a_copy_without_its_best_checkpoint(copied, said):
    one, other = copied
    (other / 'best_AP_epoch_2.pth').unlink()
    again = runner(other, KEEP, epochs=3, resume=True)
    again.val_evaluator.metrics[0].scores = iter((0.15,))
    again.train()
    assert (one / 'best_AP_epoch_2.pth').is_file()
    assert 'best_AP_epoch_3' in checkpoints(other)
    assert 'does not have' in said[-1]


def test_resume_with_other_iterations_is_said(tmp_path, said):
    runner(tmp_path, {}, epochs=2, images=4).train()
    runner(tmp_path, {}, epochs=4, images=4, resume=True).train()
    assert not said
    runner(tmp_path, {}, epochs=6, images=2, resume=True).train()
    (message,) = said
    assert 'after 16 iterations in 4 epochs, but an epoch has 2' in message
    assert 'still end after 24, the training after 20' in message


def test_a_second_training_in_the_folder_stops(tmp_path, monkeypatch):
    partial = tmp_path / '.epoch_1.pth.partial'
    partial.touch()
    monkeypatch.setattr(atomic_checkpoint_hook, '_LOCK_TIMEOUT', 0.1)
    with (tmp_path / '.training.lock').open('w+') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print('process 7 on another machine', end='', file=lock, flush=True)
        with pytest.raises(BlockingIOError, match='process 7 on another machine'):
            runner(tmp_path, {}).train()
        assert partial.is_file()
    runner(tmp_path, {}, epochs=1).train()
    assert checkpoints(tmp_path) == {'epoch_1'}  # and no partial file
    assert not (tmp_path / '.training.lock').exists()


def test_a_training_that_failed_does_not_keep_its_folder(tmp_path, failing):
    failing('epoch_1')
    for again in (runner(tmp_path, {}), runner(tmp_path, {})):
        with pytest.raises(OSError, match='No space left'):  # not the lock
            again.train()


@pytest.mark.parametrize('key', ['widerface/AP', 'widerface/hard', 'loss'])
def test_ap_is_better_when_greater(key):
    hook = AtomicCheckpointHook(save_best=key)
    assert hook.is_better_than[key](0.5, 0.4) == (key != 'loss')


@pytest.mark.parametrize('key', ['widerface/hard', 'widerface/ap', 'acc'])
def test_save_best_is_checked_before_training(tmp_path, key):
    evaluator = Evaluator(WIDERFaceMetric())
    wrong = runner(tmp_path, dict(save_best=key), evaluator=evaluator)
    with pytest.raises(ValueError, match='AP_lt16'):
        wrong.train()
    assert not checkpoints(tmp_path)


def test_save_best_of_a_figure_that_is_not_given(tmp_path, said):
    runner(tmp_path, dict(save_best='coco/AP'), epochs=1).train()
    assert checkpoints(tmp_path) == {'epoch_1'}
    assert 'no best checkpoint by coco/AP' in said[0]


def test_resume_of_nothing(tmp_path, said):
    resume(tmp_path / 'new')
    assert '--resume found no checkpoint' in said[0]
    assert not (tmp_path / 'new' / 'last_checkpoint').exists()
    (tmp_path / 'new' / 'last_checkpoint').write_text('/gone.pth')
    with pytest.raises(FileNotFoundError, match='remove .*last_checkpoint'):
        resume(tmp_path / 'new')


def test_a_named_checkpoint_is_the_users_choice(tmp_path):
    runner(tmp_path, {}, epochs=1).train()
    (tmp_path / 'last_checkpoint').write_text('')
    given = str(tmp_path / 'epoch_1.pth')
    again = runner(tmp_path, {}, resume=True, load_from=given)
    again.call_hook('before_run')
    assert (tmp_path / 'last_checkpoint').read_text() == ''
    assert again._load_from == given


def test_validation_alone(tmp_path):
    """No training has prepared the hook."""
    assert runner(tmp_path, {}).val() == dict(AP=0.1)


def test_other_places_are_left_to_mmengine():
    assert AtomicCheckpointHook().backend_args == dict(backend='atomic_local')
    assert AtomicCheckpointHook(out_dir='s3://bucket').backend_args is None
    own = dict(backend='local')
    assert AtomicCheckpointHook(backend_args=own).backend_args is own


def test_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Order of the system calls: what a loss of power leaves."""
    calls = []
    monkeypatch.setattr(os, 'fsync', lambda fd: calls.append('fsync'))
    replace = Path.replace
    monkeypatch.setattr(
        Path, 'replace', lambda *args: calls.append('replace') or replace(*args)
    )
    fileio.put(b'x', tmp_path / 'a', backend_args=dict(backend='atomic_local'))
    assert calls == ['fsync', 'replace']
