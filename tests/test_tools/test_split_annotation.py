"""split_annotation.py: every image once, the same ones each time."""

import pytest

from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt
from tests.tool_loader import load_tool

ROW = '10 12 30 40 0 0 0 {invalid} 0 0'


@pytest.fixture
def annotation(tmp_path):
    lines = []
    for number in range(300):
        rows = [ROW.format(invalid=number % 2)] * (number % 3)
        lines += [f'a/{number}.jpg', str(len(rows)), *(rows or ['0 ' * 9 + '0'])]
    path = tmp_path / 'all.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def split(annotation, *options):
    train, val = annotation.with_name('train.txt'), annotation.with_name('val.txt')
    arguments = [str(annotation), '--train', str(train), '--val', str(val), *options]
    assert load_tool('split_annotation').main(arguments) == 0
    return [
        {image.path: image.faces.tolist() for image in read_wider_face_txt(path)}
        for path in (train, val)
    ]


def test_every_image_once(annotation):
    train, val = split(annotation)
    images = read_wider_face_txt(annotation)
    assert train | val == {image.path: image.faces.tolist() for image in images}
    assert not train.keys() & val.keys()
    assert 15 <= len(val) <= 45  # a tenth of 300, by a hash


def test_an_image_stays_where_it_is(annotation):
    _, before = split(annotation)
    lines = annotation.read_text().splitlines()
    annotation.write_text('\n'.join(lines[:-4]) + '\n')  # without the last image
    _, after = split(annotation)
    assert before.keys() - after.keys() <= {'a/299.jpg'}
    assert after.keys() <= before.keys()


def test_malformed_annotation_is_named(annotation, capsys):
    annotation.write_text('a/1.jpg\nmany\n')
    with pytest.raises(SystemExit):
        split(annotation)
    assert 'all.txt' in capsys.readouterr().err
