"""tools/ablate.py: what it runs, what it leaves alone, what it prints."""

import csv
import fcntl
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmdet_srn.ablation import anchor_ratio
from mmdet_srn.ablation.process import Processes
from mmdet_srn.ablation.result import write_settings
from mmdet_srn.ablation.tables import Cell, Table
from tests.tool_loader import load_tool
from tests.training import SMALL_MODEL, write_data_set

SIZE = 128  # pixels, see tests.training


@pytest.fixture
def tool(repo_root, monkeypatch) -> ModuleType:
    module = load_tool('ablate')
    monkeypatch.setenv('PYTHONPATH', str(repo_root))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return module


@pytest.fixture(scope='module')
def base(repo_root_of_module, tmp_path_factory) -> Path:
    """A config of the paper's model made small, on data made here."""
    folder = tmp_path_factory.mktemp('base')
    data = write_data_set(folder / 'noise', [2, 3, 4, 5])
    lines = [f"_base_ = '{repo_root_of_module}/configs/srn_r50_fpn_widerface.py'"]
    settings: dict[str, object] = {
        **SMALL_MODEL,
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'default_hooks.logger.interval': 1,
        'train_dataloader.batch_size': 2,
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='LoadSquareCrop', size=(SIZE, SIZE)),
            dict(type='PlaceInSquare'),
            dict(type='PackDetInputs'),
        ],
    }
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        settings[f'{loader}.num_workers'] = 0
        settings[f'{loader}.persistent_workers'] = False
        settings[f'{loader}.dataset.data_root'] = f'{data}/'
    nested: dict = {}
    for name, value in settings.items():
        *parents, last = name.split('.')
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    lines += [f'{name} = {value!r}' for name, value in nested.items()]
    path = folder / 'tiny.py'
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.fixture(scope='module')
def repo_root_of_module() -> Path:
    return Path(__file__).resolve().parents[2]


FAKE_TRAIN = """
import json, os, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
work_dir = pathlib.Path(arguments[arguments.index('--work-dir') + 1])
rest = arguments[arguments.index('--cfg-options') + 1:]
options = dict(a.split('=', 1) for a in rest)
config = pathlib.Path(arguments[0])
assert config.is_file()
call = config.stem, options['randomness.seed'], '--resume' in arguments
with (here / 'calls.txt').open('a') as file:
    file.write('{} {} {}\\n'.format(*call))
print('training', config.stem)
if config.stem in os.environ.get('FAKE_FAIL', '').split():
    print('Traceback: the disk is full')
    sys.exit(3)
time.sleep(float(os.environ.get('FAKE_SECONDS', 0)))
shutil.copy(here / 'epoch_1.pth', work_dir)
(work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
seed = int(options['randomness.seed'])
ap = {'table1_baseline': .4, 'table1_stc': .5}.get(config.stem, .3) + seed / 100
if 'val_evaluator.outfile_prefix' in options:
    prefix = pathlib.Path(options['val_evaluator.outfile_prefix'])
    prefix.with_suffix('.json').write_text(json.dumps(
        dict(images=2, protocol='original', AP=ap, AP_lt16=ap / 2)))
    prefix.mkdir(exist_ok=True)
    (prefix / 'by_train.txt').write_text('')
"""

FAKE_TEST = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
config, checkpoint = map(pathlib.Path, arguments[:2])
assert config.is_file() and checkpoint.is_file()
rest = arguments[arguments.index('--cfg-options') + 1:]
options = dict(a.split('=', 1) for a in rest)
with (here / 'calls.txt').open('a') as file:
    file.write('test {} {}\\n'.format(config.stem, '--tta' in arguments))
prefix = pathlib.Path(options['test_evaluator.outfile_prefix'])
assert not prefix.exists() and not prefix.with_suffix('.json').exists()
if options.get('test_evaluator.iou_thr') == '0.1':
    print('Traceback: no such ground truth')
    sys.exit(4)
prefix.mkdir()
(prefix / 'by_test.txt').write_text('')
prefix.with_suffix('.json').write_text(json.dumps(
    dict(images=2, protocol='ms-1400', AP=.6, AP_lt16=.3)))
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
    return folder


def calls(fake: Path) -> list[str]:
    path = fake / 'calls.txt'
    return path.read_text().splitlines() if path.is_file() else []


def test_paper_beside_ours_and_cells_run_once(tool, fake, base, tmp_path, capsys):
    arguments = ['--base', str(base), '--work-dir', str(tmp_path / 'w')]
    assert tool.main(['--table', '1', '--seeds', '0', '1', *arguments]) == 0
    assert len(calls(fake)) == 10
    text = (tmp_path / 'w/tables/table1.md').read_text()
    assert text in capsys.readouterr().out
    rows = [line.split(' | ') for line in text.splitlines() if line.startswith('| ')]
    head, first, stc = rows[0], rows[2], rows[3]
    assert head[1:5] == [
        'paper: easy',
        'paper: medium',
        'paper: hard',
        'paper: change, hard',
    ]
    assert first[:5] == ['| RetinaNet baseline', '95.1', '93.9', '88.0', '']
    assert first[5] == '40.5 ± 0.7'
    # seed by seed, 50 - 40 and 51 - 41
    assert stc[:5] == ['| + STC', '95.3', '94.4', '89.4', '+1.4']
    assert stc[-1] == '+10.0 ± 0.0 |'
    assert '2 iterations of 2 images (4 images, epochs: 1)' in text
    assert 'protocol original' in text and 'seeds 0, 1' in text
    assert "Ours are not WIDER FACE's figures" in text
    with (tmp_path / 'w/tables/table1.csv').open() as file:
        stored = list(csv.DictReader(file))
    assert (
        dict(
            table='1',
            cell='+ STC',
            config='table1_stc',
            source='ours',
            seed='1',
            figure='AP, all faces',
            value='51',
        )
        in stored
    )
    assert sum(row['source'] == 'paper' for row in stored) == 15
    assert (tmp_path / 'w/tables/table1.png').read_bytes()[:4] == b'\x89PNG'

    # The first row of tables 2 and 4 is that of table 1; the others are not there.
    assert tool.main(['--table', '2', '4', *arguments]) == 0
    new = calls(fake)[10:]
    assert len(new) == 12 and not any('table1' in call for call in new)
    # Nothing is left to do.
    assert tool.main(['--table', '1', '2', '4', '--seeds', '0', *arguments]) == 0
    assert len(calls(fake)) == 22
    assert '17 runs, 17 of them finished already' in capsys.readouterr().out


def test_same_config_in_one_call_is_one_run(tool, fake, base, tmp_path, capsys):
    """Table 1's last cell changes nothing, so it is the base of the open choices."""
    work = tmp_path / 'w'
    code = tool.main(
        ['--table', 'theta', 'p6', '--base', str(base), '--work-dir', str(work)]
    )
    assert code == 0
    assert sorted(calls(fake)) == [
        'base 0 True',
        'p6_from_p5 0 True',
        'theta_0_9 0 True',
        'theta_0_95 0 True',
        'theta_0_999 0 True',
    ]
    out = capsys.readouterr().out
    assert 'The paper prints no figure for this choice.' in out


def test_finished_under_another_name_is_found(tool, fake, base, tmp_path):
    """'all' of table 1 and the base are one config, by whichever name it was run."""
    arguments = ['--base', str(base), '--work-dir', str(tmp_path / 'w')]
    assert tool.main(['--table', 'p6', *arguments]) == 0
    assert tool.main(['--table', '1', *arguments]) == 0
    assert [call for call in calls(fake) if 'all' in call] == []
    assert '| 30.0 |' in (tmp_path / 'w/tables/table1.md').read_text()


def test_other_budget_is_refused_or_redone(tool, fake, base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    more = ['--cfg-options', 'train_cfg.max_epochs=2']
    assert tool.main(arguments) == 0
    assert len(calls(fake)) == 2
    assert tool.main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert '2 of 2 runs are there with other settings' in error
    assert 'train_cfg.max_epochs: 1 -> 2' in error
    assert len(calls(fake)) == 2
    assert tool.main([*arguments, *more, '--redo']) == 0
    assert len(calls(fake)) == 4
    assert tool.main([*arguments, *more]) == 0
    assert len(calls(fake)) == 4


def test_a_folder_is_never_that_of_two_runs(tool, fake, base, tmp_path, capsys):
    """What fits a cell may lie in the folder of another cell that is asked for too."""
    work = tmp_path / 'w'
    arguments = ['--base', str(base), '--work-dir', str(work)]
    # In the folder 'base' then lies what the cell 'theta .9' is.
    option = ['--cfg-options', 'model.bbox_head.theta=0.9']
    assert tool.main(['--table', 'p6', *arguments, *option]) == 0
    assert tool.main(['--table', 'theta', *arguments]) == 2
    assert 'model.bbox_head.theta: 0.9 -> 0.99' in capsys.readouterr().err
    assert tool.main(['--table', 'theta', *arguments, '--redo']) == 0
    cells = ['base', 'theta_0_9', 'theta_0_95', 'theta_0_999']
    assert sorted(calls(fake)[2:]) == [f'{cell} 0 True' for cell in cells]
    for cell in cells:
        result = json.loads((work / cell / 'seed_0/result.json').read_text())
        assert result['name'] == cell


def test_a_run_that_has_become_another_is_not_taken_for_it(
    tool, fake, base, tmp_path, capsys, monkeypatch
):
    """Another process of the tool may have been at the folder since the plan."""
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    check = tool.check

    def check_and_lose(plan, redo):
        check(plan, redo)
        for run in plan.runs:
            write_settings(replace(run, settings={**run.settings, 'max_epochs': 9}))
            (run.folder / 'result.json').write_text('{"metrics": {"AP": 0.9}}')

    monkeypatch.setattr(tool, 'check', check_and_lose)
    assert tool.main(arguments) == 1
    assert calls(fake) == []
    assert 'base/seed_0 has come to hold a run of other settings' in (
        capsys.readouterr().err
    )
    text = (tmp_path / 'tables/p6.md').read_text()
    assert 'None of the runs is finished yet.' in text


WORKERS = 'train_dataloader.num_workers=2'
LOOSER = ('val_evaluator.iou_thr=0.4', 'test_evaluator.iou_thr=0.4')


def test_another_test_is_made_of_the_trained_weights(
    tool, fake, base, tmp_path, capsys
):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(arguments) == 0
    folder = tmp_path / 'base/seed_0'
    old = json.loads((folder / 'result.json').read_text())
    # How data are read and what is logged is neither training nor test.
    logging = ['default_hooks.logger.interval=7', 'log_level=DEBUG']
    assert tool.main([*arguments, '--cfg-options', WORKERS, *logging]) == 0
    assert len(calls(fake)) == 2

    capsys.readouterr()
    other = [*arguments, '--cfg-options', WORKERS, *LOOSER]
    assert tool.main([*other, '--dry-run']) == 0
    out = capsys.readouterr().out
    assert '# base seed 0: trained, to be tested again; for p6' in out
    commands = [line for line in out.splitlines() if line[0] != '#']
    assert ['test.py' in line for line in commands] == [True, True]
    assert 'seed_0/epoch_1.pth' in commands[0]
    assert tool.main([*other, '--report-only']) == 0
    assert 'None of the runs is finished yet.' in capsys.readouterr().out
    assert json.loads((folder / 'result.json').read_text()) == old

    assert tool.main(other) == 0
    out = capsys.readouterr().out
    assert '0 of them finished already, 2 trained already and only tested again' in out
    assert 'base seed 0: trained already, tested again, log in' in out
    assert calls(fake)[2:] == ['test base False', 'test p6_from_p5 False']
    new = json.loads((folder / 'result.json').read_text())
    # Time and budget are the training's.
    assert new == {**old, 'protocol': 'ms-1400', 'metrics': dict(AP=0.6, AP_lt16=0.3)}
    assert [path.name for path in (folder / 'detections').iterdir()] == ['by_test.txt']
    stored = json.loads((folder / 'settings.json').read_text())
    assert stored['test_evaluator']['iou_thr'] == 0.4
    assert stored['train_dataloader']['num_workers'] == 2
    assert tool.main(other) == 0
    assert len(calls(fake)) == 4


def test_another_test_that_fails_leaves_no_figures(tool, fake, base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(arguments) == 0
    wrong = [option.replace('0.4', '0.1') for option in LOOSER]
    assert tool.main([*arguments, '--cfg-options', *wrong]) == 1
    assert 'the test ended with status 4' in capsys.readouterr().err
    assert not (tmp_path / 'base/seed_0/result.json').is_file()
    text = (tmp_path / 'tables/p6.md').read_text()
    assert 'None of the runs is finished yet.' in text


def test_figures_without_a_checkpoint_are_not_given_up(
    tool, fake, base, tmp_path, capsys
):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(arguments) == 0
    (tmp_path / 'base/seed_0/epoch_1.pth').unlink()
    assert tool.main(arguments) == 0
    assert tool.main([*arguments, '--cfg-options', *LOOSER]) == 2
    error = capsys.readouterr().err
    assert '1 of 2 runs are there with other settings' in error
    assert 'val_evaluator.iou_thr: not there -> 0.4' in error
    assert 'no checkpoint is left to be tested' in error
    assert (tmp_path / 'base/seed_0/result.json').is_file()


@pytest.fixture
def tta_base(base, tmp_path) -> Path:
    path = tmp_path / 'tta.py'
    path.write_text(
        f'_base_ = {str(base)!r}\n'
        "tta_model = dict(type='SRNMultiScaleTest', max_size=120)\n"
        'tta_pipeline = _base_.test_pipeline\n'
        "test_evaluator = dict(box_format='released')\n"
    )
    return path


def test_tta_tests_after_training(tool, fake, tta_base, tmp_path, capsys):
    work = tmp_path / 'w'
    arguments = ['--table', 'p6', '--base', str(tta_base), '--work-dir', str(work)]
    assert tool.main([*arguments, '--tta', '--dry-run']) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if line[0] != '#']
    assert ['test.py' in line for line in commands] == [False, True, False, True]
    assert '--tta' not in commands[0] and '--tta' in commands[1]
    assert 'val_evaluator.outfile_prefix' not in commands[0]
    assert tool.main([*arguments, '--tta']) == 0
    cells = ['base', 'p6_from_p5']
    expected = [line for c in cells for line in (f'{c} 0 True', f'test {c} True')]
    assert calls(fake) == expected
    result = json.loads((work / 'base/seed_0/result.json').read_text())
    assert result['protocol'] == 'ms-1400'
    assert tool.main([*arguments, '--tta']) == 0
    assert calls(fake) == expected


def test_tta_of_what_was_trained_without(tool, fake, base, tta_base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--work-dir', str(tmp_path / 'w')]
    assert tool.main([*arguments, '--base', str(base)]) == 0
    assert tool.main([*arguments, '--base', str(tta_base), '--tta']) == 0
    assert calls(fake)[2:] == ['test base True', 'test p6_from_p5 True']
    # And back.
    assert tool.main([*arguments, '--base', str(base)]) == 0
    assert calls(fake)[4:] == ['test base False', 'test p6_from_p5 False']
    assert tool.main([*arguments, '--base', str(base), '--tta']) == 2
    assert 'the base has no tta_model' in capsys.readouterr().err


@pytest.mark.parametrize('looking', ['--dry-run', '--report-only'])
def test_looking_removes_nothing(looking, tool, fake, base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(arguments) == 0
    arguments += ['--cfg-options', 'train_cfg.max_epochs=2', '--redo', looking]
    with pytest.raises(SystemExit, match='2'):
        tool.main(arguments)
    assert '--redo removes runs' in capsys.readouterr().err
    assert (tmp_path / 'base/seed_0/result.json').is_file()


def test_a_folder_at_work_is_not_removed(tool, fake, base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(arguments) == 0
    arguments += ['--cfg-options', 'train_cfg.max_epochs=2', '--redo']
    with (tmp_path / 'base/.seed_0.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert tool.main(arguments) == 2
    assert 'ablate: another process is at work' in capsys.readouterr().err
    assert (tmp_path / 'base/seed_0/result.json').is_file()
    assert len(calls(fake)) == 2


def test_failing_cell_is_reported_and_the_others_run(
    tool, fake, base, tmp_path, capsys, monkeypatch
):
    arguments = ['--table', '5', '1', '--base', str(base), '--work-dir', str(tmp_path)]
    monkeypatch.setenv('FAKE_FAIL', 'table1_stc table1_stc_str')
    assert tool.main([*arguments[:1], '1', *arguments[3:], '--jobs', '2']) == 1
    captured = capsys.readouterr()
    assert 'Traceback: the disk is full' in captured.out
    assert 'training ended with status 3' in captured.out
    assert 'FAILED: table1_stc seed 0' in captured.err
    assert len(calls(fake)) == 5
    text = (tmp_path / 'tables/table1.md').read_text()
    assert 'Not there: + STC seed 0, + STC + STR seed 0.' in text
    (row,) = [line for line in text.splitlines() if line.startswith('| + STC |')]
    assert row.split(' | ')[5:] == ['-', '-', '- |']

    monkeypatch.delenv('FAKE_FAIL')
    assert tool.main([*arguments[:1], '1', *arguments[3:]]) == 0
    assert calls(fake)[5:] == ['table1_stc 0 True', 'table1_stc_str 0 True']


@pytest.mark.parametrize(
    ('table', 'option', 'error'),
    [
        (
            'theta',
            'model.bbox_head.theta=0.5',
            'bbox_head.theta is what the cell theta_0_9',
        ),
        # The rows would still differ, in rfe_cfg and the other levels.
        (
            '1',
            'model.bbox_head.str_levels=()',
            'str_levels is what the cell table1_base',
        ),
        (
            '5',
            'model.neck.first_levels.0=1',
            'first_levels is what the cell table1_bas',
        ),
        # A child and a parent of what the cell sets.
        (
            'rfe',
            'model.neck.upsample_cfg.mode=nearest',
            'model.neck is what the cell rfe_',
        ),
        (
            'filter',
            'model.bbox_head.loss_cls={}',
            'loss_cls.filter_positives is what th',
        ),
    ],
)
def test_options_on_what_a_cell_sets_are_refused(
    table, option, error, tool, fake, base, tmp_path, capsys
):
    code = tool.main(
        ['--table', table, '--base', str(base), '--work-dir', str(tmp_path)]
        + ['--cfg-options', option]
    )
    assert code == 2
    said = capsys.readouterr().err
    assert f'--cfg-options {option.split("=")[0]}: ' in said
    assert error in said and f'of table {table} sets itself' in said
    assert calls(fake) == []


def test_options_beside_what_a_cell_sets_are_taken(tool, fake, base, tmp_path):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    options = ['model.bbox_head.theta=0.5', 'model.neck.upsample_cfg.mode=nearest']
    options += ['model.neck.upsample_cfg.align_corners=None']
    assert tool.main([*arguments, '--cfg-options', *options]) == 0
    assert len(calls(fake)) == 2


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ("val_evaluator = dict(_delete_=True, type='CocoMetric')", 'it is CocoMetric'),
        (
            'test_evaluator = [_base_.test_evaluator]',
            'one WIDERFaceMetric, it is a list',
        ),
        (
            "model = dict(neck=dict(_delete_=True, type='FPN'))",
            'the neck must be an SRNFPN, or begin with one',
        ),
        (
            'model = dict(bbox_head=dict(anchor_generator=dict('
            'strides=[8, 16, 32, 64, 128])))',
            'must have 6 strides, of P2 to P7, as the cells name levels 0 to 5; they '
            'have 5',
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
    arguments = ['--base', str(other), '--work-dir', str(tmp_path / 'w')]
    assert tool.main(['--table', '1', *arguments]) == 2
    said = capsys.readouterr().err
    assert 'other.py' in said and error in said
    assert calls(fake) == []


def test_rows_that_the_base_makes_the_same_are_said(
    tool, fake, repo_root, tmp_path, capsys
):
    """The mosaic's base matches best anchors by itself."""
    base = repo_root / 'configs/srn_r18_face_mosaic.py'
    arguments = ['--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main(['--table', 'matching', *arguments]) == 0
    cells = ['base', 'no_low_quality_matching']
    assert sorted(calls(fake)) == [f'{cell} 0 True' for cell in cells]
    out = capsys.readouterr().out
    assert '"learns it at any IoU" is "as the base config has it"' in out


def test_missing_base_and_seed_among_options(tool, fake, base, tmp_path, capsys):
    assert tool.main(['--table', '1', '--base', str(tmp_path / 'no.py')]) == 2
    assert 'no.py: no such config' in capsys.readouterr().err
    assert (
        tool.main(
            ['--table', '1', '--base', str(base), '--cfg-options', 'randomness.seed=1']
        )
        == 2
    )
    assert '--seeds' in capsys.readouterr().err
    assert calls(fake) == []


def test_validation_and_test_that_differ_are_refused(
    tool, fake, base, tmp_path, capsys
):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    options = ['--cfg-options', 'val_evaluator.iou_thr=0.4']
    assert tool.main([*arguments, *options]) == 2
    assert 'val_evaluator and test_evaluator differ' in capsys.readouterr().err
    assert calls(fake) == []
    assert tool.main([*arguments, *options, 'test_evaluator.iou_thr=0.4']) == 0


def test_dry_run_prints_commands_of_what_is_left(tool, fake, base, tmp_path, capsys):
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    launch = ['--launcher', 'pytorch', '--gpus', '8']
    assert tool.main([*arguments, *launch, '--dry-run']) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if not line.startswith('#')]
    assert len(commands) == 2
    assert all('torch.distributed.run --nproc_per_node=8' in c for c in commands)
    assert all('--launcher pytorch' in command for command in commands)
    assert (tmp_path / 'p6_from_p5/p6_from_p5.py').is_file()
    assert calls(fake) == []
    assert tool.main(arguments) == 0
    assert tool.main([*arguments, '--dry-run']) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if 'train.py' in line] == []
    # On 8 GPUs it is another batch size, so another run.
    assert tool.main([*arguments, *launch]) == 2
    assert 'processes: 1 -> 8' in capsys.readouterr().err


def test_report_only_starts_nothing(tool, fake, base, tmp_path, capsys):
    arguments = ['--table', '4', '--base', str(base), '--work-dir', str(tmp_path)]
    assert tool.main([*arguments, '--report-only']) == 0
    assert calls(fake) == []
    assert 'None of the runs is finished yet.' in capsys.readouterr().out


def test_a_folder_at_work_is_left_alone(tool, fake, base, tmp_path, capsys):
    folder = tmp_path / 'p6_from_p5'
    folder.mkdir()
    with (folder / '.seed_0.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code = tool.main(
            ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
        )
    assert code == 1
    assert 'another process is at work' in capsys.readouterr().err
    assert calls(fake) == ['base 0 True']


def test_interrupted_ends_its_processes_and_goes_on(
    tool, fake, base, tmp_path, monkeypatch, capsys, request
):
    """As by Ctrl-C: the training ends as well, and is run again with --resume."""
    arguments = ['--table', 'p6', '--base', str(base), '--work-dir', str(tmp_path)]
    monkeypatch.setenv('FAKE_SECONDS', '100')
    # A shell's background job, which these tests may be, starts with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt() -> None:
        while not calls(fake):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert tool.main(arguments) == 130
    assert 'the same command goes on' in capsys.readouterr().err
    assert calls(fake) == ['base 0 True']
    with (tmp_path / 'base/.seed_0.lock').open('w') as file:
        # raises if the training, which inherited the lock, were still there
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    monkeypatch.delenv('FAKE_SECONDS')
    assert tool.main(arguments) == 0
    assert calls(fake) == ['base 0 True', 'base 0 True', 'p6_from_p5 0 True']
    result = json.loads((tmp_path / 'base/seed_0/result.json').read_text())
    assert result['resumed'] is True


def test_trains_tests_counts_and_resumes(tool, base, tmp_path, monkeypatch, capsys):
    """The real thing: one cell, two iterations, all kinds of figures."""
    cell = Cell('table1_all', 'SRN', (88.0, 76.4, 57.8, 28.5))
    columns = ('IoU .5', 'IoU .6', 'IoU .7', 'IoU .8')
    tables = {
        'x': Table('AP', (), (Cell('table1_all', 'SRN'),)),
        '5': Table('IoU', columns, (cell,), 'ap_by_iou'),
        '3': Table('Recall', (), (cell,), 'false_positives'),
        'fig1a': Table(
            'Ratio',
            ('STC gain', 'STR gain'),
            (Cell('table1_all', 'SRN', (38, 3)),),
            'anchor_ratio',
        ),
    }
    monkeypatch.setattr(tool, 'TABLES', tables)
    run_process = Processes.run

    def run_here(self, command, log, env, keep=()):
        # As a process of its own it would import everything for seconds.
        if '-m' not in command:
            return run_process(self, command, log, env, keep)
        counted.append(command)
        return anchor_ratio.main(command[command.index('-m') + 2 :])

    counted: list[list[str]] = []
    monkeypatch.setattr(Processes, 'run', run_here)
    arguments = ['--table', *tables, '--base', str(base), '--work-dir', str(tmp_path)]
    arguments += ['--fig1a-batches', '2']
    status = tool.main(arguments)
    folder = tmp_path / 'table1_all/seed_0'
    assert status == 0, (folder / 'log.txt').read_text()
    out = capsys.readouterr().out
    result = json.loads((folder / 'result.json').read_text())
    assert (result['iterations'], result['epochs'], result['batch']) == (2, 1, 2)
    assert result['test_images'] == 2 and result['metrics']['faces'] == 6
    assert 0 <= result['survivors'] <= 1
    assert counted[0][1:3] == ['-m', anchor_ratio.__name__]
    counts = json.loads((folder / 'anchor_ratio.json').read_text())
    assert counts['images'] == 4
    # one anchor box at a time: 2 anchors a cell, maps of 128 / stride
    for level, stride in enumerate((4, 8, 16, 32, 64, 128)):
        seen = counts['positive'][0][level] + counts['negative'][0][level]
        assert 0 < seen <= 4 * 2 * (SIZE // stride) ** 2
    table5 = (tmp_path / 'tables/table5.md').read_text()
    (row,) = [line for line in table5.splitlines() if line.startswith('| SRN')]
    assert row.split(' | ')[1:5] == ['88.0', '76.4', '57.8', '28.5']
    # at IoU .5 it is the metric's own AP
    assert row.split(' | ')[5] == f'{100 * result["metrics"]["AP"]:.1f}'
    assert 'STC 1 to .. before' in out

    # Killed between the last checkpoint and its validation: the test makes up for it.
    before = (folder / 'detections.json').read_text()
    (folder / 'result.json').unlink()
    (folder / 'detections.json').unlink()
    assert tool.main(arguments) == 0, (folder / 'log.txt').read_text()
    assert json.loads((folder / 'detections.json').read_text()) == json.loads(before)
    again = json.loads((folder / 'result.json').read_text())
    assert again['resumed'] is True
    assert again['metrics'] == result['metrics']
    log = (folder / 'log.txt').read_text()
    commands = [line for line in log.splitlines() if line.startswith('$ ')]
    tools = [Path(line.split()[2]).name for line in commands]
    assert tools == ['train.py', 'train.py', 'test.py']
    assert len(counted) == 1  # the counts were there
