import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.datasets.wider_face_txt_reader import (
    AnnotationError,
    parse_wider_face_txt,
    read_wider_face_txt,
)

ROW = '10 20 30 40 0 1 0 0 2 0 '
ZEROS = '0 0 0 0 0 0 0 0 0 0 '
GOOD = (
    f'0--A/a_1.jpg\n1\n{ROW}\n0--A/a_2.jpg\n0\n{ZEROS}\n1--B/b.jpg\n2\n{ROW}\n{ROW}\n'
)


def test_records():
    first, second, third = parse_wider_face_txt(GOOD)
    assert (first.path, first.img_id, first.line) == ('0--A/a_1.jpg', '0--A/a_1', 1)
    assert first.faces.dtype == np.int32
    assert first.faces.tolist() == [[10, 20, 30, 40, 0, 1, 0, 0, 2, 0]]
    assert second.faces.shape == (0, 10)
    assert third.line == 7
    assert third.faces.shape == (2, 10)


@pytest.mark.parametrize(
    'text',
    [
        pytest.param(GOOD.replace('\n', '\r\n'), id='crlf'),
        pytest.param(GOOD.replace('\n', '\r'), id='cr'),
        pytest.param('\ufeff' + GOOD, id='bom'),
        pytest.param(('\ufeff' + GOOD).encode(), id='bom bytes'),
        pytest.param(GOOD + '\n \n\r\n', id='empty lines at the end'),
        pytest.param(GOOD.rstrip(), id='no end of line'),
        pytest.param(GOOD.replace(' \n', '\n'), id='no trailing spaces'),
        pytest.param(GOOD.replace('\n', '  \t\n'), id='more trailing spaces'),
        pytest.param(GOOD.replace(ZEROS + '\n', ''), id='no row of zeros'),
    ],
)
def test_variants_of_the_same_text(text):
    found, expected = parse_wider_face_txt(text), parse_wider_face_txt(GOOD)
    assert [record.path for record in found] == [record.path for record in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.faces, other.faces)


def test_file_list():
    records = parse_wider_face_txt('0--A/a.jpg\r\n1--B/b c.png \r\n\r\n')
    assert [record.path for record in records] == ['0--A/a.jpg', '1--B/b c.png']
    assert all(record.faces.shape == (0, 10) for record in records)
    assert [record.line for record in records] == [1, 2]


def test_backslashes_of_windows():
    records = parse_wider_face_txt(f'a\\b.jpg\n1\n{ROW}\na\\c.jpg\n0\n')
    assert [record.path for record in records] == ['a/b.jpg', 'a/c.jpg']


def test_ids():
    records = parse_wider_face_txt('x.jpg\na.b/c/d.e.jpg\n.hidden/y.jpg\n')
    assert [record.img_id for record in records] == ['x', 'a.b/c/d.e', '.hidden/y']


@pytest.mark.parametrize('text', ['', '\n\n', '\ufeff'])
def test_empty(text):
    assert parse_wider_face_txt(text) == []


@pytest.mark.parametrize(
    ('text', 'line', 'message'),
    [
        (f'a/b.jpg\nmany\n{ROW}\n1\n', 2, "number of faces of a/b.jpg, found 'many'"),
        (f'a/b.jpg\n-1\n{ROW}\n', 2, "number of faces of a/b.jpg, found '-1'"),
        (f'a/b.jpg\n\n{ROW}\n1\n', 2, "number of faces of a/b.jpg, found ''"),
        (f'a/b.jpg\n1\n{ROW}\nc/d.jpg\n', 4, 'ends before the number of faces of c/d'),
        ('a/b.jpg\n1\n1 2 3 4 5 6 7 8 9\n', 3, 'in 10 columns, found 9'),
        ('a/b.jpg\n1\n1 2 3 4 5 6 7 8 9 10 11\n', 3, 'in 10 columns, found 11'),
        (
            'a/b.jpg\n2\n1 2 3 4 5 6 7 8 9\n10 1 2 3 4 5 6 7 8 9 10\n',
            3,
            'in 10 columns, found 9',
        ),
        ('a/b.jpg\n1\n1 2 3 +4 5 6 7 8 9 0\n', 3, "'\\+4' is not an integer"),
        ('a/b.jpg\n1\n1 2 3-4 5 6 7 8 9 0 1\n', 3, "'3-4' is not an integer"),
        ('a/b.jpg\n1\n1 2 3 4.5 5 6 7 8 9 0\n', 3, "'4.5' is not an integer"),
        ('a/b.jpg\n1\n1 2 3 1_0 5 6 7 8 9 0\n', 3, "'1_0' is not an integer"),
        ('a/b.jpg\n1\n1 2 3 ٣ 5 6 7 8 9 0\n', 3, "'٣' is not an integer"),
        ('a/b.jpg\n1\n1 2 3 2147483648 5 6 7 8 9 0\n', 3, 'does not fit 32 bits'),
        (f'a/b.jpg\n2\n{ROW}\n', 3, 'ends after 1 of 2 faces of a/b.jpg'),
        (f'a/b.jpg\n2\n{ROW}\nc/d.jpg\n1\n{ROW}\n', 4, 'found 1: .c/d.jpg'),
        (f'a/b.jpg\n1\n{ROW}\n{ROW}\n', 4, 'expected the path of an image'),
        (f'a/b.jpg\n0\n{ROW}\n', 3, 'expected the path of an image'),
        (f'a/b.jpg\n0\n{ZEROS}\n{ZEROS}\n', 4, 'expected the path of an image'),
        (f'a/b.jpg\n1\n{ROW}\n\nc/d.jpg\n1\n{ROW}\n', 4, "found ''"),
        (f'1\n{ROW}\n', 1, "found '1'"),
        ('0 .5 .5 .1 .2\n0 .5 .5 .1 .2\n', 1, 'expected the path of an image'),
        (f'a/b.jpg\n1\n{ROW}\na/b.jpg\n1\n{ROW}\n', 4, 'line 1 has an image'),
        (f'a/b.jpg\n1\n{ROW}\na/b.png\n1\n{ROW}\n', 4, 'line 1 has an image'),
        ('a/b.jpg\nc/d.jpg\na/b.jpg\n', 3, 'line 1 has an image'),
        (f'a/b.jpg/\n1\n{ROW}\n', 1, "found 'a/b.jpg/'"),
        (f'a/b.\n1\n{ROW}\n', 1, "found 'a/b.'"),
        (f'a/b.jpg\n1\n{"9" * 5000} 2 3 4 5 6 7 8 9 0\n', 3, 'is not an integer'),
        (b'a/b.jpg\n1\n\xff\n', 3, 'not UTF-8'),
        (b'a/b.jpg\r1\r\xff\r', 3, 'not UTF-8'),
        (f'a/b.jpg\n1\n{ROW}\na/b\0.jpg\n1\n{ROW}\n', 4, 'NUL'),
    ],
)
def test_malformed(text, line, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        parse_wider_face_txt(text, 'some/file.txt')
    assert str(caught.value).startswith(f'some/file.txt:{line}: ')


def _text(images):
    """An annotation of these faces, as the official files are written."""
    lines = []
    for index, faces in enumerate(images):
        rows = [' '.join(map(str, face)) + ' ' for face in faces] or [ZEROS]
        lines += [f'e/{index}.jpg', str(len(faces)), *rows]
    return '\n'.join(lines) + '\n'


def _mutate(text, rng):
    """Change a few characters or lines of a text."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        if rng.random() < 0.5:  # at the start of a word
            at = max(text.rfind(' ', 0, at), text.rfind('\n', 0, at)) + 1
        length = rng.choice((0, 0, 1, 1, 2))
        pieces = ('', *' -\t\n\r\x0b\x85\u20280159x_+.٣', ' -', '- ', '2147483648', ROW)
        text = text[:at] + rng.choice(pieces) + text[at + length :]
        if rng.random() < 0.2:
            lines = text.split('\n')
            lines[rng.randrange(len(lines))] = rng.choice(lines)
            text = '\n'.join(lines)
    return text


NUMBERS = st.one_of(
    st.integers(-3, 1024),
    st.sampled_from((10**9 - 1, 10**9, 2**31 - 1, -(10**9), -(2**31))),
)
IMAGES = st.lists(
    st.lists(st.lists(NUMBERS, min_size=10, max_size=10), max_size=4),
    min_size=1,
    max_size=6,
)


@given(IMAGES)
def test_any_numbers_are_read(images):
    """Counted rows of zeros and negative widths, as val has them, too."""
    records = parse_wider_face_txt(_text(images))
    assert [record.faces.tolist() for record in records] == images
    assert all(record.faces.dtype == np.int32 for record in records)


@settings(max_examples=120)
@given(IMAGES, st.integers(0, 2**32))
def test_any_text_is_read_or_refused_with_its_line(images, seed):
    text = _mutate(_text(images), random.Random(seed))
    try:
        records = parse_wider_face_txt(text, 'gt.txt')
    except AnnotationError as error:
        assert re.match(r'gt\.txt:\d+: ', str(error))
        return
    assert all(record.faces.shape[1:] == (10,) for record in records)
    again = parse_wider_face_txt(_text([r.faces.tolist() for r in records]))
    for one, other in zip(records, again, strict=True):
        np.testing.assert_array_equal(one.faces, other.faces)


def test_read_names_the_file(tmp_path):
    file = tmp_path / 'gt.txt'
    file.write_text('a/b.jpg\n1\n1 2\n')
    with pytest.raises(AnnotationError) as caught:
        read_wider_face_txt(file)
    assert str(caught.value).startswith(f'{file}:3: ')
    with pytest.raises(FileNotFoundError, match='nowhere.txt'):
        read_wider_face_txt(tmp_path / 'nowhere.txt')


@pytest.mark.parametrize(
    ('name', 'images', 'faces', 'degenerate', 'invalid'),
    [
        ('wider_face_val_bbx_gt.txt', 3226, 39708, 11, 585),
        ('wider_face_train_boxes.txt', 12880, 159424, None, 0),
    ],
)
def test_official_files(shared_data, name, images, faces, degenerate, invalid):
    records = read_wider_face_txt(shared_data / 'annotations' / name)
    rows = np.concatenate([record.faces for record in records])
    assert (len(records), len(rows)) == (images, faces)
    assert len({record.path.split('/')[0] for record in records}) == 61
    assert (rows[:, 7] != 0).sum() == invalid
    if degenerate is not None:
        assert (rows[:, 2:4] <= 0).any(axis=1).sum() == degenerate
