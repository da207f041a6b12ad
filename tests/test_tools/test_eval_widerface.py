import json

import numpy as np
import pytest
from scipy.io import savemat

from tests.test_evaluation.mat_writer import write_ground_truth
from tests.tool_loader import load_tool, run_without_stack

IMAGES = {
    '0--Parade/a': [(0, 0, 9, 9), (50, 50, 20, 20)],
    '0--Parade/b': [(10, 10, 30, 30)],
    '1--Handshaking/c': [(5, 5, 40, 40)],
}
SUBSETS = {
    'easy': {'0--Parade/a': [2]},
    'medium': {'0--Parade/a': [2], '1--Handshaking/c': [1]},
    'hard': {'0--Parade/a': [1, 2], '0--Parade/b': [1], '1--Handshaking/c': [1]},
}
# One of the four faces of hard is found, before and after a false positive.
RESULT = """a
3
50 50 20 20 1.0
200 200 5 5 0.5
0 0 9 9 0.0
"""


@pytest.fixture
def tool():
    return load_tool('eval_widerface')


@pytest.fixture
def folders(tmp_path):
    write_ground_truth(tmp_path / 'gt', IMAGES, SUBSETS)
    (tmp_path / 'pred/0--Parade').mkdir(parents=True)
    (tmp_path / 'pred/0--Parade/a.txt').write_text(RESULT)
    (tmp_path / 'pred/0--Parade/b.txt').write_text('b\n2\n1 2 3 4 0.5\n')
    return [str(tmp_path / 'pred'), '--gt-dir', str(tmp_path / 'gt')]


def _lines(text):
    return [' '.join(line.split()) for line in text.splitlines()]


def test_prints_figures_and_what_is_odd(tool, folders, capsys):
    assert tool.main([*folders, '--protocol', 'vga', '--name', 'mine']) == 0
    lines = _lines(capsys.readouterr().out)
    assert 'detector mine' in lines
    assert any(line.startswith('protocol vga (single scale, long') for line in lines)
    assert 'detections 3 on 3 images' in lines
    assert 'odd files 1 missing (no file: no detections), such as' in lines
    assert '1--Handshaking/c' in lines
    assert '0--Parade/b: 1 rows, 2 announced' in lines
    hard = 1 / 4 + 1 / 4 * 2 / 3
    assert f'mine 1.0000 0.5000 {hard:.4f}' in lines
    assert 'truncated 1.000 0.500 0.416 (as published figures are)' in lines
    assert 'faces 1 2 4' in lines
    warning = 'WARNING only 1 of 3226 val images, NOT COMPARABLE with any published'
    assert [line for line in lines if 'WARNING' in line] == [f'{warning} figure']


def test_json_and_plot(tool, folders, tmp_path, capsys):
    out = tmp_path / 'out/here/x.json'
    plot = tmp_path / 'out/x.png'
    args = ['--json', str(out), '--plot', str(plot), '--analysis']
    assert tool.main([*folders, *args, '--protocol', 'original']) == 0
    stored = json.loads(out.read_text())
    assert stored['protocol'] == 'original'
    assert stored['detector'] == 'pred'
    assert stored['num_detections'] == 3
    assert set(stored['odd_files']) == {'missing', 'short'}
    hard = stored['results']['hard']
    assert hard['ap'] == pytest.approx(1 / 4 + 1 / 4 * 2 / 3, abs=1e-15)
    assert hard['num_faces'] == 4
    assert len(hard['precision']) == len(hard['recall']) == 1000
    assert hard['precision'][-1] == pytest.approx(2 / 3)
    assert hard['recall'][-1] == 0.5
    analysis = stored['analysis_not_official']
    assert analysis['false_positives']['hard']['0.5'] == 1
    assert analysis['false_positives']['hard']['0.8'] is None
    assert analysis['ap_by_height']['ge96'] == {'ap': None, 'num_faces': 0}
    printed = capsys.readouterr().out
    assert 'Not official' in printed and 'not reached' in printed
    assert plot.read_bytes().startswith(b'\x89PNG')


def test_compare(tool, folders, tmp_path, capsys):
    for name, precision in (('Low', 0.25), ('High', 0.75)):
        (tmp_path / 'curves' / name).mkdir(parents=True)
        for subset in SUBSETS:
            savemat(
                tmp_path / f'curves/{name}/wider_pr_info_{name}_{subset}_val.mat',
                dict(pr_cruve=np.c_[np.full(5, precision), np.linspace(0, 1, 5)]),
            )
    out = tmp_path / 'x.json'
    args = ['--compare', str(tmp_path / 'curves'), '--json', str(out)]
    assert tool.main([*folders, *args, '--plot', str(tmp_path / 'x.pdf')]) == 0
    lines = _lines(capsys.readouterr().out)
    high, low = (
        lines.index('High 0.7500 0.7500 0.7500'),
        lines.index('Low 0.2500 0.2500 0.2500'),
    )
    assert high < low
    assert json.loads(out.read_text())['published']['High']['hard'] == 0.75


def test_no_result_file_at_all(tool, folders, tmp_path, capsys):
    (tmp_path / 'other/deeper').mkdir(parents=True)
    (tmp_path / 'other/deeper/a.txt').touch()
    for option in ([], ['--only-present']):
        assert tool.main([str(tmp_path / 'other'), *folders[1:], *option]) == 1
        message = capsys.readouterr().err
        assert 'no result file at all' in message and 'deeper/a.txt' in message


def test_no_file_that_can_be_used(tool, folders, tmp_path, capsys):
    (tmp_path / 'pred/0--Parade/a.txt').write_text('1 2 3 4 0.5\n1 2 3 4 0.5\n')
    assert tool.main(folders) == 1
    message = capsys.readouterr().err
    assert '1 missing, 1 malformed, 1 short' in message
    assert "0--Parade/a: line 2 is '1 2 3 4 0.5', not a count" in message


def _write_all(folder, row, images=IMAGES):
    """Every face is found; how it is written, ``row`` says."""
    for name, boxes in images.items():
        lines = [name, str(len(boxes))]
        for number, (x, y, w, h) in enumerate(boxes):
            values = row(x, y, w, h, 0.9 - number / 10)
            lines.append(' '.join(map(str, values)))
        path = folder / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(lines))


@pytest.mark.parametrize(
    ('row', 'guess'),
    [
        (lambda x, y, w, h, s: (s, x, y, w, h), 'score x y w h'),
        (lambda x, y, w, h, s: (x + 200, y, x + w + 200, y + h, s), ''),
        (lambda x, y, w, h, s: (s, x, y, x + w, y + h), 'score x1 y1 x2 y2'),
        (lambda x, y, w, h, s: (x / 99, y / 99, w / 99, h / 99, s), 'fractions'),
    ],
)
def test_other_columns(tool, tmp_path, row, guess, capsys):
    images = {'0--Parade/a': [(5, 50, 20, 30), (90, 9, 30, 40), (60, 10, 15, 20)]}
    write_ground_truth(tmp_path / 'gt', images, {'hard': {'0--Parade/a': [1, 2, 3]}})
    _write_all(tmp_path / 'other', row, images)
    status = tool.main([str(tmp_path / 'other'), '--gt-dir', str(tmp_path / 'gt')])
    message = capsys.readouterr().err
    assert status == bool(guess)
    assert f'seem to be {guess}' in message if guess else not message


def test_only_present(tool, folders, tmp_path, capsys):
    out = tmp_path / 'x.json'
    _write_all(tmp_path / 'other', lambda *row: row)
    (tmp_path / 'other/0--Parade/b.txt').unlink()
    (tmp_path / 'other/0--Parade/of_no_image.txt').touch()
    args = [str(tmp_path / 'other'), *folders[1:], '--json', str(out)]
    assert tool.main(args) == 0
    whole = json.loads(out.read_text())
    assert tool.main([*args, '--only-present']) == 0
    part = json.loads(out.read_text())
    faces = [stored['results']['hard']['num_faces'] for stored in (whole, part)]
    assert faces == [4, 3]
    for stored in (whole, part):
        assert stored['note'] == 'only 2 of 3226 val images, NOT COMPARABLE'
    assert whole['results']['hard']['ap'] < part['results']['hard']['ap']


def test_the_whole_of_val_has_no_note(tool, folders, monkeypatch, capsys):
    truth = tool.wider_face_ground_truth
    monkeypatch.setattr(truth, 'NUM_VAL_IMAGES', 1)
    assert tool.main(folders) == 0
    assert 'NOT COMPARABLE' not in capsys.readouterr().out


def test_odd_values_are_counted(tool, folders, tmp_path, capsys):
    rows = '50 50 20 20 9.9e1\n1 2 -3 4 0.5\n1 2 nan 4 0.5\n1 2 3 4 -0.1\n'
    (tmp_path / 'pred/0--Parade/a.txt').write_text(f'a\n4\n{rows}')
    assert tool.main(folders) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'WARNING 1 score (scores outside 0..1' in printed
    assert '0--Parade/a: 2 of 4, such as 50 50 20 20 99' in printed
    assert 'WARNING 1 size (' in printed
    assert 'WARNING 1 not_finite (' in printed


def test_errors_are_one_message(tool, folders, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'nowhere'), *folders[1:]]) == 1
    assert 'no result folder' in capsys.readouterr().err
    assert tool.main([folders[0], '--gt-dir', str(tmp_path / 'pred')]) == 1
    message = capsys.readouterr().err
    assert 'no wider_easy_val.mat' in message and 'evaluation kit' in message
    assert tool.main([*folders, '--compare', str(tmp_path / 'pred')]) == 1
    assert 'wider_pr_info' in capsys.readouterr().err


def test_runs_without_the_stack(folders):
    done = run_without_stack('eval_widerface', *folders, '--analysis')
    assert done.returncode == 0, done.stderr
    assert '0.4167' in done.stdout
