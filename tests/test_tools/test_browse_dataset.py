import os

import cv2
import numpy as np
import pytest

from tests.tool_loader import load_tool

CONFIG = """
custom_imports = dict(imports=['mmdet_srn'])
train_dataloader = dict(
    dataset=dict(
        type='WIDERFaceTxtDataset',
        data_root={root!r},
        ann_file='wider_face_split/wider_face_train_bbx_gt.txt',
        data_prefix=dict(img='WIDER_train/images'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs'),
        ],
    )
)
"""


@pytest.fixture(scope='module')
def tool():
    return load_tool('browse_dataset')


@pytest.fixture
def root(tmp_path):
    """Three images of one colour each: blue, red and grey, with faces on the first."""
    folder = tmp_path / 'data/WIDER_train/images/0--A'
    folder.mkdir(parents=True)
    for name, colour in (('a', (250, 0, 0)), ('b', (0, 0, 250)), ('c', (99, 99, 99))):
        image = np.full((100, 100, 3), colour, np.uint8)
        assert cv2.imwrite(str(folder / f'{name}.png'), image)
    split = tmp_path / 'data/wider_face_split'
    split.mkdir()
    (split / 'wider_face_train_bbx_gt.txt').write_text(
        '0--A/a.png\n2\n20 10 30 40 0 0 0 0 0 0\n60 70 20 20 0 0 0 1 0 0\n'
        '0--A/b.png\n1\n5 5 50 50 0 0 0 0 0 0\n'
        '0--A/c.png\n1\n5 5 50 50 0 0 0 0 0 0\n'
    )
    return f'{tmp_path}/data/'


@pytest.fixture
def config(tmp_path, root):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(root=root))
    return str(path)


def _pixel(sheet, x, y):
    return tuple(sheet[y, x].tolist())


def test_colours_and_boxes(tool, config, tmp_path, capsys):
    out = tmp_path / 'new/sheet.png'
    options = ['--index=0', '--num=1', '--tile=200']
    assert tool.main([config, f'--out={out}', *options]) == 0
    sheet = cv2.imread(str(out))
    assert _pixel(sheet, 100, 5) == (250, 0, 0)  # blue is blue
    for x, y in ((40, 20), (100, 20), (40, 100), (100, 100), (70, 20), (40, 60)):
        assert _pixel(sheet, x, y) == tool.GREEN
    for x, y in ((120, 140), (160, 140), (120, 180), (160, 180)):
        assert _pixel(sheet, x, y) == tool.RED
    assert _pixel(sheet, 70, 60) == (250, 0, 0)
    assert sheet.shape == (200 + tool.CAPTION, 200 + tool.GAP, 3)
    printed = capsys.readouterr().out
    assert '0--A/a.png' in printed
    assert '1 samples, 1 faces, 40 to 40 pixels high' in printed


def test_name_that_is_not_utf8(tool, config, tmp_path, capsys):
    """cv2 would crash the process."""
    out = tmp_path / os.fsdecode(b'\xe9') / os.fsdecode(b'\xe9.png')
    assert tool.main([config, f'--out={out}', '--num=1', '--tile=64']) == 0
    assert out.read_bytes().startswith(b'\x89PNG')
    assert '\\udce9.png' in capsys.readouterr().out


def test_several_samples(tool, config, tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    arguments = [config, f'--out={out}', '--tile=64', '--columns=2']
    tool.main(arguments)
    # Each image once, though 16 are asked for; the fourth place stays white.
    sheet = cv2.imread(str(out))
    height, width = 64 + tool.CAPTION, 64 + tool.GAP
    assert sheet.shape == (2 * height, 2 * width, 3)
    assert (sheet[height:, width:] == 255).all()
    names = [line.split('/')[-1] for line in capsys.readouterr().out.splitlines()]
    assert {'a.png', 'b.png', 'c.png'} <= set(names)
    tool.main([*arguments, '--index=1', '--num=3'])
    assert capsys.readouterr().out.count('0--A/b.png') == 3


def test_shipped_config_by_name(tool, root, tmp_path):
    step = 'train_dataloader.dataset'
    sheets = []
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        out = tmp_path / f'{name}.png'
        tool.main(
            [
                *('srn_r50_fpn_widerface', f'--out={out}', f'--seed={seed}'),
                *('--cfg-options', f'{step}.data_root={root}'),
                f'{step}.pipeline.1.size=64',
            ]
        )
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_values_beyond_what_can_be_shown(tool):
    inputs = np.array([-20, 0.6, 300], np.float16).reshape(3, 1, 1)
    assert tool.to_image(inputs).tolist() == [[[0, 1, 255]]]
    assert tool.to_image(inputs[1:2]).tolist() == [[[1, 1, 1]]]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['no_such_config'], 'no such config'),
        (['{config}', '--index=3'], 'the set has 3 images'),
        (['{config}', '--out={folder}/folder.png'], 'cannot be written'),
    ],
)
def test_errors(tool, config, tmp_path, arguments, message):
    (tmp_path / 'folder.png').mkdir()
    arguments = [part.format(config=config, folder=tmp_path) for part in arguments]
    with pytest.raises(SystemExit, match=message):
        tool.main(arguments)


@pytest.mark.parametrize(
    ('option', 'message'), [('--num=0', 'at least 1'), ('--out=a.b', 'end it in .png')]
)
def test_bad_options(tool, config, capsys, option, message):
    with pytest.raises(SystemExit):
        tool.main([config, option])
    assert message in capsys.readouterr().err
