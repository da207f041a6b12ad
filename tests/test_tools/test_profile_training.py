"""tools/analysis_tools/profile_training.py, on a small network and images of noise."""

import re
import sys

import pytest

from tests.tool_loader import load_tool
from tests.training import small_config, write_data_set


@pytest.fixture(scope='module')
def tool():
    return load_tool('profile_training')


@pytest.fixture
def config(tmp_path):
    data = write_data_set(tmp_path / 'noise', [2, 1, 3, 1])
    small_config('srn_r50_fpn_widerface', data, tmp_path / 'run').dump(
        tmp_path / 'small.py'
    )
    return tmp_path / 'small.py'


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['profile_training.py', *map(str, arguments)])
    tool.main()


def test_table(tool, config, monkeypatch, capsys):
    """Each part takes time; together they are the iteration. 3 iterations, 2 epochs."""
    before = set(config.parent.rglob('*'))
    run(tool, monkeypatch, config, '--iters', 2, '--warm-up', 1)
    lines = capsys.readouterr().out.splitlines()
    assert re.search('2 iterations after 1, 2 images each$', lines[0])
    rows = {
        re.split('  +', line)[0]: [float(n) for n in re.findall(r'\d+\.\d+', line)]
        for line in lines[2:-1]
    }
    assert list(rows) == [*tool.PARTS, 'iteration']
    assert all(seconds >= 0 for seconds, *_ in rows.values())
    for part in ('matching, first step', 'forward and losses', 'backward and update'):
        assert rows[part][0] > 0
    assert sum(rows[part][1] for part in tool.PARTS) == pytest.approx(100, abs=0.5)
    assert re.match(r'\d+\.\d\d images per second, peak memory [\d,]+ MB', lines[-1])
    assert set(config.parent.rglob('*')) == before


def test_weights_are_updated(tool, config, monkeypatch):
    """What is timed is a training step."""
    monkeypatch.setattr(
        sys, 'argv', ['profile_training.py', str(config), '--warm-up', '0']
    )
    runner = tool.build(tool.parse_args(), str(config.parent / 'work'))
    weight = runner.model.bbox_head.conv_reg.weight
    before = weight.detach().clone()
    rows = tool.measure(runner, iters=1, warm_up=0)
    assert rows['images'].tolist() == [2]
    assert not before.equal(weight)


@pytest.mark.parametrize('wrong', [('--iters', 0), ('--warm-up', -1)])
def test_wrong_arguments(tool, monkeypatch, capsys, wrong):
    with pytest.raises(SystemExit, match='2'):
        run(tool, monkeypatch, 'small.py', *wrong)
    assert f'{wrong[0]}: {wrong[1]} is less than' in capsys.readouterr().err
