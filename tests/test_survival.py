"""What becomes of a run that is killed, finds a full disk, or a broken image.

Those that are interrupted are tools/train.py in a process of their own. All have two
worker processes.
"""

import re
import shutil
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner

from tests.training import logged, losses, run_train, small_config, write_data_set

FACES = [3, 1, 4, 1, 5, 9, 2, 6]  # of 8 images: 4 iterations an epoch


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', FACES)


def config(data: Path, work_dir: Path, **options):
    """Two epochs of the paper's recipe with its augmentation."""
    return small_config(
        'srn_r50_fpn_widerface',
        data,
        work_dir,
        train_dataloader__num_workers=2,
        train_cfg__max_epochs=2,
        train_cfg__val_interval=2,
        randomness__seed=3,
        **options,
    )


@pytest.fixture(scope='module')
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run without an interruption."""
    work_dir = tmp_path_factory.mktemp('whole') / 'run'
    Runner.from_cfg(config(data, work_dir)).train()
    return work_dir


@pytest.fixture(scope='module')
def interrupted(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A run killed in its second epoch; resumed, full disk; resumed again."""
    work_dir = tmp_path_factory.mktemp('interrupted') / 'run'
    kill = dict(
        default_hooks__kill=dict(type='KillHook', epoch=1, iteration=2),
        custom_imports__imports=['mmdet_srn', 'tests.training'],
    )
    results, files, bytes_of = [], [], []
    for options, arguments, limit in (
        (kill, (), None),
        ({}, ('--resume',), 300_000),
        ({}, ('--resume',), None),
    ):
        cfg = config(data, work_dir, **options)
        results.append(run_train(cfg, *arguments, limit=limit))
        names = {path.name for path in work_dir.glob('*') if path.is_file()}
        files.append(names - {'.training.lock'})
        bytes_of.append((work_dir / 'epoch_1.pth').read_bytes())
        (work_dir / '.epoch_7.pth.partial').touch()  # as a kill -9 would leave it
    return SimpleNamespace(
        work_dir=work_dir, results=results, files=files, first=bytes_of
    )


def test_killed_in_the_middle_of_an_epoch(interrupted):
    assert interrupted.results[0].returncode == -signal.SIGKILL
    assert {'epoch_1.pth', 'last_checkpoint'} <= interrupted.files[0]
    assert 'epoch_2.pth' not in interrupted.files[0]


def test_full_disk_stops_the_run_and_spoils_nothing(interrupted):
    """EFBIG, as the kernel gives it beyond RLIMIT_FSIZE, in the place of ENOSPC."""
    result = interrupted.results[1]
    assert result.returncode == 1
    first = interrupted.work_dir / 'epoch_1.pth'
    assert re.search(
        r'OSError: .*no checkpoint could be written: .*File too large: '
        rf"'.*epoch_2\.pth' \(\d+ MiB are free\)\. The last whole checkpoint: {first}",
        result.stdout,
    )
    assert interrupted.files[1] == {'epoch_1.pth', 'last_checkpoint', 'run.py'}
    assert interrupted.first[0] == interrupted.first[1]
    assert zipfile.ZipFile(first).testzip() is None


def test_resumed_run_is_the_uninterrupted_one(whole, interrupted):
    """Losses, weights and evaluation to the bit; order and augmentation included."""
    for result in interrupted.results[1:]:
        assert 'resumed epoch: 1, iter: 4' in result.stdout
    assert interrupted.results[2].returncode == 0, interrupted.results[2].stdout
    assert interrupted.files[2] == {*interrupted.files[1], 'epoch_2.pth'}
    expected = losses(whole)
    assert list(expected) == list(range(1, 9))
    assert losses(interrupted.work_dir) == expected
    one, other = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)
        for folder in (whole, interrupted.work_dir)
    )
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name])
    figures = [
        {name: row[name] for name in row if name.startswith('widerface/')}
        for folder in (whole, interrupted.work_dir)
        for row in logged(folder)
        if 'widerface/AP' in row
    ]
    assert len(figures) == 2 and figures[0] == figures[1]


def test_broken_image_stops_the_run_and_is_named(data, tmp_path):
    broken = shutil.copytree(data, tmp_path / 'noise')
    image = broken / 'WIDER_train/images/0--Noise/5.png'
    image.write_bytes(image.read_bytes()[:20])
    message = 'RuntimeError in DataLoader worker'
    with pytest.raises(RuntimeError, match=message) as caught:
        Runner.from_cfg(config(broken, tmp_path / 'run')).train()
    said = f'the pipeline failed on {image} (is it a whole image?)'
    assert said in str(caught.value)
    assert not list((tmp_path / 'run').glob('*.pth'))
