"""ablate.py: what it runs, what it leaves alone, what it prints."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from mmdet_srn.ablation import anchor_ratio
from mmdet_srn.ablation.cells import as_python
from mmdet_srn.ablation.report import MEAN_AP
from mmdet_srn.ablation.tables import Cell, Table
from tests.test_ablation.markdown_table import columns_of
from tests.tool_loader import load_tool
from tests.training import SIZE, small_config, write_data_set


@pytest.fixture
def tool(repo_root, monkeypatch) -> ModuleType:
    module = load_tool('ablate')
    monkeypatch.setenv('PYTHONPATH', str(repo_root))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return module


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Path:
    """A config of the paper's model made small, on data made here; quick to load."""
    folder = tmp_path_factory.mktemp('base')
    data = write_data_set(folder / 'noise', [2, 3])
    path = folder / 'tiny.py'
    cfg = small_config('srn_r50_fpn_widerface', data, folder / 'run')
    path.write_text(as_python(cfg))
    return path


FAKE_TRAIN = """
import os, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
work_dir = pathlib.Path(arguments[arguments.index('--work-dir') + 1])
config = pathlib.Path(arguments[0])
assert config.is_file()
assert ('--resume' in arguments) == (work_dir / 'epoch_1.pth').is_file()
shutil.copy(here / 'epoch_1.pth', work_dir)
with (here / 'calls.txt').open('a') as file:
    file.write(f'train {config.stem} {work_dir.name[5:]}\\n')
if config.stem in os.environ.get('FAKE_FAIL', '').split():
    print('Traceback: the disk is full')
    sys.exit(3)
time.sleep(float(os.environ.get('FAKE_SECONDS', 0)))
(work_dir / 'last_checkpoint').write_text('/moved/epoch_1.pth')
"""

FAKE_TEST = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
config, checkpoint = map(pathlib.Path, arguments[:2])
assert config.is_file() and checkpoint.is_file()
prefix = pathlib.Path(arguments[arguments.index('--work-dir') + 1]) / 'detections'
assert not prefix.exists()
prefix.mkdir()
tta = '--tta' in arguments
with (here / 'calls.txt').open('a') as file:
    file.write(f'{"tta" if tta else "test"} {config.stem} {prefix.parts[-3][5:]}\\n')
ap = {'table1_baseline': .4, 'table1_stc': .5}.get(config.stem, .3)
ap += int(prefix.parts[-3][5:]) / 100
prefix.with_suffix('.json').write_text(json.dumps(dict(images=2,
    protocol='ms-1400' if tta else 'original', AP=ap, AP_lt16=ap / 2)))
"""


@pytest.fixture
def fake(tool, tmp_path, monkeypatch) -> Path:
    """Tools that train and test nothing and say how they were called."""
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(FAKE_TRAIN)
    (folder / 'test.py').write_text(FAKE_TEST)
    torch.save(dict(meta=dict(iter=2, epoch=1)), folder / 'epoch_1.pth')
    monkeypatch.setattr(tool, 'TOOLS', folder)
    figures = dict(ap_by_iou={'0.5': 0.3, '0.8': 0.1}, false_positives={'0.1': 2})
    monkeypatch.setattr(tool, 'detection_figures', lambda *_: figures)
    return folder


def calls(fake: Path) -> list[str]:
    path = fake / 'calls.txt'
    return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def arguments(base, tmp_path) -> list[str]:
    return ['--base', str(base), '--work-dir', str(tmp_path / 'w')]


def expected(*names: str, seeds: str = '0') -> list[str]:
    return [f'{w} {n} {s}' for n in names for s in seeds for w in ('train', 'test')]


def test_paper_beside_ours_and_cells_run_once(tool, fake, arguments, tmp_path, capsys):
    assert tool.main(['--table', '1', '--seeds', '0', '1', *arguments]) == 0
    assert len(calls(fake)) == 20
    text = (tmp_path / 'w/tables/table1.md').read_text()
    assert text in capsys.readouterr().out
    columns = columns_of(text)
    assert columns['paper: hard'] == ('88.0', '89.4', '88.8', '90.1', '90.2')
    assert columns['paper: change, hard'][:2] == ('', '+1.4')
    assert columns['ours: AP, all faces'][:2] == ('40.5 ± 0.7', '50.5 ± 0.7')
    # seed by seed, 50 - 40 and 51 - 41
    change = columns['ours: change, AP, all faces']
    assert change[:2] == ('', '+10.0 ± 0.0 [+10.0, +10.0]')
    assert columns[f'ours: {MEAN_AP}'][0] == '20.0 ± 0.0'
    assert '2 iterations of 2 images' in text and 'seeds 0, 1' in text
    assert "Ours are not WIDER FACE's figures" in text
    stored = pd.read_csv(tmp_path / 'w/tables/table1.csv', dtype=str)
    row = ['1', '+ STC', 'table1_stc', 'ours', '1', 'AP, all faces', '51']
    assert row in stored.values.tolist()
    assert sum(stored.source == 'paper') == 15
    assert (tmp_path / 'w/tables/table1.png').read_bytes()[:4] == b'\x89PNG'

    # The first row of table 2 is that of table 1; the others are not there.
    assert tool.main(['--table', '2', *arguments]) == 0
    new = calls(fake)[20:]
    assert len(new) == 12 and not any('table1' in call for call in new)
    # The last cell of table 1 changes nothing, so it is the base of the open choices.
    assert tool.main(['--table', 'p6', '3', *arguments]) == 0
    assert calls(fake)[32:] == expected('p6_from_p5')
    out = capsys.readouterr().out
    assert 'The paper prints no figure for this choice.' in out
    # Nothing is left to do.
    assert tool.main(['--table', '1', '2', '5', *arguments]) == 0
    assert len(calls(fake)) == 34
    assert '11 runs, 11 of them finished already' in capsys.readouterr().out


def test_other_settings_are_other_runs(tool, fake, arguments, tmp_path):
    arguments = ['--table', 'p6', *arguments]
    assert tool.main(arguments) == 0
    assert tool.main([*arguments, '--cfg-options', 'train_cfg.max_epochs=2']) == 0
    assert calls(fake) == 2 * expected('base', 'p6_from_p5')
    assert len(list((tmp_path / 'w').glob('base-*/seed_0/test-*/result.json'))) == 2
    # Another test takes the trained weights, and the old one is still there.
    looser = ['--cfg-options', 'test_evaluator.iou_thr=0.4']
    assert tool.main([*arguments, *looser]) == 0
    assert len(calls(fake)) == 10
    assert len(list((tmp_path / 'w').glob('base-*'))) == 2
    (new,) = (
        path
        for path in (tmp_path / 'w').glob('base-*/seed_0/test-*/result.json')
        if json.loads(path.read_text())['resumed']
    )
    assert len(list(new.parents[1].glob('test-*'))) == 2
    assert tool.main(arguments) == 0
    assert len(calls(fake)) == 10


def test_tta(tool, fake, base, tmp_path, capsys):
    tta_base = tmp_path / 'tta.py'
    tta_base.write_text(
        f'_base_ = {str(base)!r}\n'
        "tta_model = dict(type='SRNMultiScaleTest', max_size=120)\n"
        'tta_pipeline = _base_.test_pipeline\n'
    )
    arguments = ['--table', 'rfe', '--work-dir', str(tmp_path / 'w')]
    assert tool.main([*arguments, '--base', str(base), '--tta']) == 2
    assert 'has no tta_model' in capsys.readouterr().err
    assert tool.main([*arguments, '--base', str(base)]) == 0
    assert tool.main([*arguments, '--base', str(tta_base), '--tta']) == 0
    assert len(list((tmp_path / 'w').glob('base-*'))) == 1
    names = ('base', 'rfe_neck', 'rfe_none')  # trained before
    assert calls(fake)[6:] == [f'tta {name} 0' for name in names]
    assert 'ms-1400' in (tmp_path / 'w/tables/rfe.md').read_text()


def test_failing_cell_is_reported_and_the_others_run(
    tool, fake, arguments, tmp_path, capsys, monkeypatch
):
    arguments = ['--table', '1', *arguments]
    monkeypatch.setenv('FAKE_FAIL', 'table1_stc table1_stc_str')
    assert tool.main([*arguments, '--jobs', '2']) == 1
    captured = capsys.readouterr()
    assert 'Traceback: the disk is full' in captured.out
    assert 'FAILED: table1_stc seed 0: training ended with status 3' in captured.err
    assert len(calls(fake)) == 8
    text = (tmp_path / 'w/tables/table1.md').read_text()
    assert 'Not there: + STC seed 0, + STC + STR seed 0.' in text
    ours = [v for title, v in columns_of(text).items() if title[:4] == 'ours']
    assert [column[1] for column in ours] == ['-'] * 5

    monkeypatch.delenv('FAKE_FAIL')
    assert tool.main(arguments) == 0
    assert calls(fake)[8:] == expected('table1_stc', 'table1_stc_str')


@pytest.mark.parametrize(
    ('table', 'option', 'error'),
    [
        ('theta', 'model.bbox_head.theta=0.5', 'theta_0_9 sets model.bbox_head.theta'),
        # The rows would still differ, in rfe_cfg and the other levels.
        ('1', 'model.bbox_head.str_levels=()', 'sets model.bbox_head.str_levels'),
        ('5', 'model.neck.first_levels.0=1', 'sets model.neck.first_levels'),
        # A child and a parent of what the cell sets.
        ('rfe', 'model.neck.upsample_cfg.mode=nearest', 'rfe_neck sets model.neck'),
        ('filter', 'model.bbox_head.loss_cls={}', 'loss_cls.filter_positives'),
        ('1', 'randomness.seed=1', '--seeds'),
    ],
)
def test_options_on_what_a_cell_sets_are_refused(
    table, option, error, tool, fake, arguments, capsys
):
    code = tool.main(['--table', table, *arguments, '--cfg-options', option])
    assert code == 2
    assert error in capsys.readouterr().err
    assert calls(fake) == []


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ("test_evaluator = dict(_delete_=True, type='CocoMetric')", 'WIDERFaceMetric'),
        ('test_evaluator = [_base_.test_evaluator]', 'one WIDERFaceMetric'),
        ("model = dict(neck=dict(_delete_=True, type='FPN'))", 'SRNFPN'),
        (
            'model = dict(bbox_head=dict(anchor_generator=dict('
            'strides=[8, 16, 32, 64, 128])))',
            'must have anchors of 6 strides',
        ),
        # One that an open choice could be put on, but not these cells.
        (
            "model = dict(neck=[_base_.model.neck, dict(type='RFE', in_channels=16)])",
            'table1_baseline does not fit other.py',
        ),
    ],
)
def test_bases_that_the_cells_do_not_fit_are_refused(
    change, error, tool, fake, base, tmp_path, capsys
):
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = {str(base)!r}\n{change}\n')
    assert tool.main(['--table', '1', '--base', str(other)]) == 2
    said = capsys.readouterr().err
    assert 'other.py' in said and error in said
    assert tool.main(['--table', '1', '--base', str(tmp_path / 'no.py')]) == 2
    assert 'no.py: no such config' in capsys.readouterr().err
    assert calls(fake) == []


def test_rows_that_the_base_makes_the_same_are_said(
    tool, fake, repo_root, tmp_path, capsys
):
    """The mosaic's base matches best anchors by itself."""
    base = repo_root / 'configs/srn_r18_face_mosaic.py'
    arguments = ['--base', str(base), '--work-dir', str(tmp_path / 'w')]
    assert tool.main(['--table', 'matching', *arguments]) == 0
    assert calls(fake) == expected('base', 'no_low_quality_matching')
    out = capsys.readouterr().out
    assert '"learns it at any IoU" is "as the base config has it"' in out


def test_looking_starts_nothing(tool, fake, arguments, tmp_path, capsys):
    arguments = ['--table', 'p6', *arguments]
    assert tool.main([*arguments, '--report-only']) == 0
    assert 'None of the runs is finished yet.' in capsys.readouterr().out
    launch = ['--launcher', 'pytorch', '--gpus', '8']
    assert tool.main([*arguments, *launch, '--dry-run']) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if 'torch.distributed.run' in line]
    tools = [Path(command.split()[5]).name for command in commands]
    assert tools == 2 * ['train.py', 'test.py']
    assert all('--nproc_per_node=8' in c for c in commands)
    assert all('--launcher pytorch' in c for c in commands)
    assert list((tmp_path / 'w').glob('p6_from_p5-*/seed_0/test-*/p6_from_p5.py'))
    assert calls(fake) == []


def test_interrupted_ends_its_processes_and_goes_on(
    tool, fake, arguments, monkeypatch, capsys, request
):
    """As by Ctrl-C: the training ends as well, and is run again with --resume."""
    monkeypatch.setenv('FAKE_SECONDS', '100')
    # A shell's background job, which these tests may be, starts with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt() -> None:
        while not calls(fake):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    assert tool.main(['--table', 'p6', *arguments]) == 130
    assert time.monotonic() - start < 60  # it waits for its processes
    assert 'the same command goes on' in capsys.readouterr().err
    assert calls(fake) == ['train base 0']
    monkeypatch.delenv('FAKE_SECONDS')
    assert tool.main(['--table', 'p6', *arguments]) == 0
    assert calls(fake)[1:] == expected('base', 'p6_from_p5')


@pytest.mark.parametrize(
    ('given', 'jobs', 'of_each', 'names'),
    [
        ('3,5', 1, 2, ['3,5']),
        (None, 2, 1, ['0', '1']),
        ('0,1,2,3', 2, 2, ['0,1', '2,3']),
        # Not enough: in turn.
        ('4,6,8', 2, 2, ['4,6', '8,4']),
        ('4', 2, 2, ['4', '4']),
        # None are to be used.
        ('', 2, 1, ['', '']),
    ],
)
def test_each_job_gets_its_gpus(given, jobs, of_each, names, tool, monkeypatch):
    key = 'CUDA_VISIBLE_DEVICES'
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv(key, raising=False)
    if given is not None:
        monkeypatch.setenv(key, given)
    got = [tool.environment(slot, jobs, of_each).get(key) for slot in range(jobs)]
    assert got == names


def test_each_job_gets_its_threads(tool, monkeypatch):
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    assert tool.environment(0, 2, 1)['OMP_NUM_THREADS'] == '1'  # as set
    monkeypatch.delenv('OMP_NUM_THREADS')
    threads = [tool.environment(0, n, 1).get('OMP_NUM_THREADS') for n in (1, 2, 3, 16)]
    assert threads == [None, '4', '2', '1']


def test_trains_tests_counts_and_resumes(tool, base, arguments, tmp_path, monkeypatch):
    """The real thing: one cell, one iteration, all kinds of figures."""
    aps, ious = (88.0, 76.4, 57.8, 28.5), ('IoU .5', 'IoU .6', 'IoU .7', 'IoU .8')
    gains, name = ('STC gain', 'STR gain'), 'table1_all'
    tables = {
        'x': Table('AP', (), (Cell(name, 'SRN'),)),
        '5': Table('IoU', ious, (Cell(name, 'SRN', aps),), 'ap_by_iou'),
        '3': Table('Recall', (), (Cell(name, 'SRN'),), 'false_positives'),
        'fig1a': Table('Ratio', gains, (Cell(name, 'SRN', (38, 3)),), 'anchor_ratio'),
    }
    monkeypatch.setattr(tool, 'TABLES', tables)
    run_process, killed = tool.run_process, []

    async def run(command, log, env):
        if '-m' in command:  # a process of its own would import everything for seconds
            return anchor_ratio.main(command[command.index('-m') + 2 :])
        if 'test.py' in command[1] and not killed:
            killed.append(command)
            return -9
        return await run_process(command, log, env)

    monkeypatch.setattr(tool, 'run_process', run)
    arguments = ['--table', *tables, *arguments, '--fig1a-batches', '1']
    assert tool.main(arguments) == 1  # killed after the training
    (folder,) = (tmp_path / 'w').glob(f'{name}-*/seed_0')
    log = folder / 'log.txt'
    assert not list(folder.glob('test-*/result.json'))
    assert tool.main(arguments) == 0, log.read_text()
    commands = [x for x in log.read_text().splitlines() if x.startswith('$ ')]
    tools = [Path(command.split()[2]).name for command in commands]
    assert tools == ['train.py', 'test.py']  # what is trained is not trained again

    (path,) = folder.glob('test-*/result.json')
    result = json.loads(path.read_text())
    assert (result['iterations'], result['epochs'], result['batch']) == (1, 1, 2)
    assert result['test_images'] == 2 and result['metrics']['faces'] == 6
    assert 0 <= result['survivors'] <= 1 and result['resumed']
    # at IoU .5 it is the metric's own AP
    assert result['ap_by_iou']['0.5'] == result['metrics']['AP']
    counts = json.loads((folder / 'anchor_ratio_1.json').read_text())
    assert counts['images'] == 2
    # one anchor box at a time: 2 anchors a cell, maps of 128 / stride
    for level, stride in enumerate((4, 8, 16, 32, 64, 128)):
        seen = counts['positive'][0][level] + counts['negative'][0][level]
        assert 0 < seen <= 2 * 2 * (SIZE // stride) ** 2
    table5 = columns_of((tmp_path / 'w/tables/table5.md').read_text())
    assert [table5[f'paper: {title}'] for title in ious] == [(str(x),) for x in aps]
    assert 'STC 1 to .. before' in (tmp_path / 'w/tables/fig1a.md').read_text()
