import json

import pytest
from PIL import Image

from tests.test_evaluation.test_face_eval import write_annotation
from tests.tool_loader import load_tool, run_without_stack

ELLIPSE = '30 20 1.5 50 50'


@pytest.fixture
def tool():
    return load_tool('eval_faces')


@pytest.fixture
def fddb(tmp_path):
    """Two images with a face each; one is found, with one false positive."""
    folds = tmp_path / 'FDDB-folds'
    folds.mkdir()
    names = ['2002/07/19/big/img_1', '2002/07/20/big/img_1']
    text = ''.join(f'{name}\n1\n{ELLIPSE} 1\n' for name in names)
    (folds / 'FDDB-fold-01-ellipseList.txt').write_text(text)
    dets = tmp_path / 'dets.txt'
    dets.write_text(f'{names[0]}\n2\n{ELLIPSE} .9\n9 9 1 90 90 .5\nx\n0\n')
    for name in names:
        path = tmp_path / f'originalPics/{name}.jpg'
        path.parent.mkdir(parents=True)
        Image.new('L', (100, 120)).save(path)
    return [str(dets), '--benchmark', 'fddb', '--ann', str(folds)]


def read_table(text):
    return dict(line.rsplit(maxsplit=1) for line in text.splitlines())


def test_fddb(tool, fddb, tmp_path, capsys):
    out = tmp_path / 'out.json'
    pictures = str(tmp_path / 'originalPics')
    assert tool.main([*fddb, '--images', pictures, '--json', str(out)]) == 0
    table = read_table(capsys.readouterr().out)
    assert table['discrete, 2000 false positives'] == '0.5000'
    assert table['continuous, 1000 false positives'] == '0.5000'
    assert table['images without an entry'] == '1'
    assert table['other images, left out'] == '1'
    assert table['WARNING: 1 of 2845 images, NOT'] == 'COMPARABLE'
    assert table['lowest score'] == '0.5000'
    stored = json.loads(out.read_text())
    assert stored['curve']['false_positives'] == [0, 1]
    assert stored['faces to find'] == 2


def test_fddb_needs_sizes(tool, fddb, tmp_path, capsys):
    assert tool.main(fddb) == 1
    assert '--images is needed' in capsys.readouterr().err
    assert tool.main([*fddb, '--images', str(tmp_path)]) == 1
    assert 'img_1.jpg' in capsys.readouterr().err
    line = dict(image='/x/2002/07/20/big/img_1.jpg', width=100, height=120)
    path = tmp_path / 'faces.jsonl'
    path.write_text(json.dumps(line | dict(bboxes=[[30, 20, 70, 80]], scores=[1])))
    assert tool.main([str(path), *fddb[1:]]) == 0
    table = read_table(capsys.readouterr().out)
    assert table['discrete, 100 false positives'] == '0.5000'
    assert 0.3 < float(table['continuous, 100 false positives']) < 0.45


@pytest.fixture
def afw(tmp_path):
    """Three faces of one image: found, found loosely, ignored; and an empty image."""
    faces = [[100 * i, 0, 100 * i + 60, 60, 0, i == 2] for i in range(3)]
    write_annotation(tmp_path / 'afw.mat', {'10.jpg': faces, '11.jpg': [[]]})
    dets = tmp_path / 'dets.txt'
    dets.write_text('10 .9 10 10 70 70\n10 .8 110 10 170 70\n11 .1 0 0 40 40\n')
    return [str(dets), '--benchmark', 'afw', '--ann', str(tmp_path / 'afw.mat')]


def test_afw(tool, afw, tmp_path, capsys):
    out = tmp_path / 'out.json'
    assert tool.main([*afw, '--json', str(out)]) == 0
    table = read_table(capsys.readouterr().out)
    assert table['AP, boxes as detected'] == '1.0000'
    assert table['AP, boxes refined (as published)'] == '1.0000'
    assert (table['images'], table['faces to find']) == ('2', '2')
    assert json.loads(out.read_text())['curve']['recall'] == [0.5, 1, 1]


def test_errors_have_file_and_line(tool, afw, fddb, tmp_path, capsys):
    (tmp_path / 'dets.txt').write_text(f'10\n1\n{ELLIPSE} 1\n')
    assert tool.main(afw) == 1
    assert '10 has ellipses' in capsys.readouterr().err
    (tmp_path / 'dets.txt').write_text('10\n1\n1 2 3\n')
    assert tool.main(afw) == 1
    assert 'dets.txt:3: ' in capsys.readouterr().err
    assert tool.main([str(tmp_path / 'no.txt'), *afw[1:]]) == 1
    assert 'no.txt' in capsys.readouterr().err


def test_without_the_stack(afw):
    done = run_without_stack('eval_faces', *afw)
    assert done.returncode == 0, done.stderr
    assert 'AP, boxes as detected' in done.stdout


def test_curve_without_a_count_yet(tool, afw, tmp_path):
    """An ignored face, found first, has no precision: null, which JSON can hold."""
    (tmp_path / 'dets.txt').write_text('10 .9 200 0 260 60\n')
    assert tool.main([*afw, '--json', str(tmp_path / 'out.json')]) == 0
    assert json.loads((tmp_path / 'out.json').read_text())['curve']['precision'] == [
        None
    ]
