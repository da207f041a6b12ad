"""The tool end to end on a small network; the parts have tests of their own."""

import json

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdet_srn.benchmark.synthetic_images import write_image
from tests.test_benchmark.small_detector import build, write_config
from tests.tool_loader import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('benchmark')


@pytest.fixture
def config(tmp_path):
    return str(write_config(tmp_path))


def rows(path, config):
    return json.loads(path.read_text())['configs'][config]['rows']


def test_table(tool, config, tmp_path, capsys):
    out = tmp_path / 'out.json'
    arguments = [config, '--sizes=96x64', '--share', '1', '30', '--runs=1']
    assert tool.main([*arguments, f'--json={out}', '--markdown']) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith('|')]
    assert len(lines) == 2 + 4 and len({line.count('|') for line in lines}) == 1
    assert 'M parameters (backbone' in text and 'torch' in text.splitlines()[0]
    released, dense, few, many = rows(out, config)
    ways = [row['way'] for row in (released, dense, few, many)]
    assert ways == ['released', 'dense', 'auto', 'auto']
    assert released['gflop_total'] > dense['gflop_total'] >= many['gflop_total']
    assert few['surviving_percent'] == released['surviving_percent']
    assert few['surviving_percent'] < many['surviving_percent']
    assert released['faster'] == 1
    for row in (released, dense, few, many):
        assert row['pairs_exact'] == row['detections'] == row['detections_dense'] > 0
        ms = row['ms']
        assert ms['fastest'] <= ms['total'] <= ms['slowest']


def test_checkpoint_and_photographs(tool, config, tmp_path):
    detector = build(tmp_path)
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=detector.state_dict(), meta={}), checkpoint)
    folder = tmp_path / 'photographs'
    (folder / 'below').mkdir(parents=True)
    for name, width in (('a', 96), ('below/b', 96), ('c', 80)):
        write_image(folder / f'{name}.jpg', width, 64)
    (folder / 'notes.txt').write_text('no image')
    out = tmp_path / 'out.json'
    arguments = [config, f'--checkpoint={checkpoint}', f'--images={folder}']
    arguments += ['--batch-sizes', '1', '2', '--runs=0', '--ways', 'auto']
    assert tool.main([*arguments, f'--json={out}']) == 0
    found = rows(out, config)
    assert [(row['batch'], row['way']) for row in found] == [(1, 'auto'), (2, 'auto')]
    assert all(0 < row['surviving_percent'] < 100 for row in found)
    assert all('ms' not in row and row['gflop_total'] > 0 for row in found)
    assert found[0]['pairs_exact'] == found[0]['detections']


def test_several_configs(tool, config, tmp_path, capsys):
    other = tmp_path / 'other.py'
    other.write_text(
        "_base_ = 'small.py'\nmodel = dict(bbox_head=dict(rfe_cfg=None))\n"
    )
    arguments = [config, str(other), '--sizes=64x64', '--runs=0', '--share=1']
    assert tool.main([*arguments, '--no-same', '--ways', 'auto']) == 0
    text = capsys.readouterr().out
    assert '\nsmall: ' in text and '\nother: ' in text
    assert 'total ms' not in text and 'same' not in text and 'GFLOP' in text


def test_sizes_and_pipeline(tool, config):
    cfg = Config.fromfile(config)
    kinds = [type(t).__name__ for t in tool.make_pipeline(cfg, None).transforms]
    assert 'LoadAnnotations' not in kinds and 'PackDetInputs' in kinds
    steps = tool.make_pipeline(cfg, (30, 20)).transforms
    [resize] = [step for step in steps if type(step).__name__ == 'Resize']
    assert resize.scale == (30, 20) and not resize.keep_ratio


def test_the_released_code_is_neither_folded_nor_channels_last(tool, config, tmp_path):
    ways = {
        'released': (False, False),
        'released+folded': (True, False),
        'released+channels_last': (False, True),
        'dense': (True, True),
        'auto': (True, True),
        'auto+unfolded': (False, True),
        'auto+contiguous': (True, False),
    }
    args = tool.parse_args([config, '--share=1', '--ways', *ways])
    found = {}
    for name, variant in tool.make_variants(args, build(tmp_path), pipeline=None):
        modules, weights = variant.detector.modules(), variant.detector.parameters()
        last = torch.channels_last
        found[name] = (
            not any(isinstance(module, nn.BatchNorm2d) for module in modules),
            all(w.is_contiguous(memory_format=last) for w in weights if w.dim() == 4),
        )
    assert found == ways


def test_images_are_evenly_spread(tool, tmp_path):
    for number in range(9):
        (tmp_path / f'{number}.png').touch()
    assert [p.stem for p in tool.find_images(tmp_path, 3)] == ['0', '4', '8']
    assert len(tool.find_images(tmp_path, 99)) == 9


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--checkpoint=none.pth'], 'none.pth'),
        (['--images=nowhere'], 'no images in nowhere'),
        (['--device=cuda:99'], "device 'cuda:99' cannot be used"),
        (['--ways', 'auto+fp16', '--share=1'], 'fp16 is for GPUs'),
        (['--ways', 'auto+contiguous+channels_last'], 'exclude each other'),
    ],
)
def test_says_what_is_wrong(tool, config, more, message, capsys):
    assert tool.main([config, '--sizes=64x64', '--runs=0', *more]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith('benchmark: ') and message in error


def test_no_config(tool, tmp_path, capsys):
    path = tmp_path / 'wrong.py'
    path.write_text('a = 1\n')
    for name, message in ((path, 'has no model'), ('missing.py', 'no config missing')):
        assert tool.main([str(name)]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--ways', 'fast'], "'fast' is none of"),
        (['--ways', 'auto+int8'], "'int8' is none of"),
        (['--share', '101'], 'not from 0 to 100'),
        (['--sizes', '640'], "'640' is no size"),
        (['--batch-sizes', '0'], '0 is less than 1'),
        (['other.py', '--checkpoint=a.pth'], '--checkpoint is for one CONFIG'),
    ],
)
def test_wrong_arguments(tool, config, arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main([config, *arguments])
    assert error.value.code == 2 and message in capsys.readouterr().err
