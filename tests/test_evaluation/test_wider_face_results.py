import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.evaluation.wider_face_results import (
    ODD_VALUES,
    parse_result,
    read_results,
    write_results,
)


@pytest.mark.parametrize(
    ('text', 'rows', 'kinds'),
    [
        ('name\n1\n1 2 3 4 0.5\n', [[1, 2, 3, 4, 0.5]], []),
        ('name\n1\n1 2 3 4 0.5', [[1, 2, 3, 4, 0.5]], []),
        ('name\r\n1\r\n1 2 3 4 0.5\r\n', [[1, 2, 3, 4, 0.5]], []),
        ('\n 1 \n  1\t2  3 4 0.5 \n', [[1, 2, 3, 4, 0.5]], []),
        ('n\n1\n-1.5 +2 .5 4. 1e-3\n', [[-1.5, 2, 0.5, 4, 0.001]], []),
        ('n\n1\n1, 2,3 ,4 0.5\n', [[1, 2, 3, 4, 0.5]], []),
        ('n\n2\n1 2 3 4 5\n6 7 8 9 10\n', [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], []),
        ('n\n1.0\n1 2 3 4 5\n', [[1, 2, 3, 4, 5]], []),
        ('n\n0\n', [], []),
        ('n\n-3\n', [], []),
        ('n\n1\n1 2 3 4 5\nwhat else\n', [[1, 2, 3, 4, 5]], ['extra']),
        ('n\n0\n1 2 3 4 5\n', [], ['extra']),
        ('n\n1\n1 2 3 4 5 6 7\n', [[1, 2, 3, 4, 5]], ['extra']),
        ('n\n1\n1 2 3 4 5\n\n \n', [[1, 2, 3, 4, 5]], []),
        ('', [], ['empty']),
        (' \n\n', [], ['empty']),
        ('n\n', [], ['short']),
        ('n\n2\n1 2 3 4 5\n', [], ['short']),
        ('n\n1\n', [], ['short']),
        ('n\n1\n1 2 3 4\n', [], ['malformed']),
        ('n\n1\n\n1 2 3 4 5\n', [], ['malformed']),  # a blank line is a line
        ('n\n2\n1 2 3 4\n1 2 3 4 5 6\n', [], ['malformed']),  # ten numbers, though
        ('n\n2\n1  2 3 4\n1\t2 3 4 5 6\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 face\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 5 face\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 1_0\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 e5\n', [], ['malformed']),
        ('n\n1\n1,,2 3 4 5\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 infinity\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 ٣\n', [], ['malformed']),
        ('n\n\n1 2 3 4 5\n', [], ['malformed']),
        ('n\nmany\n1 2 3 4 5\n', [], ['malformed']),
        ('n\n1 1\n1 2 3 4 5\n', [], ['malformed']),
        ('n\n0.5\n1 2 3 4 5\n', [], ['malformed']),
        ('n\nNaN\n1 2 3 4 5\n', [], ['malformed']),
        ('n\nInf\n1 2 3 4 5\n', [], ['malformed']),
        ('n\n1\n1 2 3 4 Inf\n', [[1, 2, 3, 4, math.inf]], ['not_finite']),
        ('n\n1\n1 2 3 4 -nan\n', [[1, 2, 3, 4, math.nan]], ['not_finite']),
        ('n\n1\n1 2 3 4 1e999\n', [[1, 2, 3, 4, math.inf]], ['not_finite']),
    ],
)
def test_parse(text, rows, kinds):
    parsed = parse_result(text.encode())
    np.testing.assert_array_equal(parsed.rows, np.array(rows).reshape(-1, 5))
    # The rows above are short for a reason; a score of 5 is odd, too.
    assert [kind for kind, _ in parsed.oddities if kind != 'score'] == kinds


@given(st.binary(max_size=60))
def test_no_content_stops_it(data):
    rows = parse_result(b'n\n1\n' + data).rows
    assert rows.shape in ((0, 5), (1, 5))


def test_read_folder(tmp_path):
    (tmp_path / 'e').mkdir()
    (tmp_path / 'e/a.txt').write_text('a\n2\n1 2 3 4 0.1\n5 6 7 8 0.9\n')
    (tmp_path / 'e/b.txt').write_text('')
    (tmp_path / 'e/c.d.txt').write_text('c\n1\n1 2\n')
    (tmp_path / 'e/unasked.txt').write_text('bad')
    (tmp_path / 'e/folder.txt').mkdir()
    (tmp_path / 'f').touch()
    with pytest.raises(NotADirectoryError, match='nowhere'):
        read_results(tmp_path / 'nowhere', ['e/a'])
    detections, report = read_results(
        tmp_path, ['e/x', 'e/a', 'e/b', 'e/c.d', 'e/folder', 'f/a']
    )
    assert detections.rows.tolist() == [[1, 2, 3, 4, 0.1], [5, 6, 7, 8, 0.9]]
    assert detections.offsets.tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert report.num_images == 6
    assert report.num_rows == 2
    bad_row, bad_file = report.odd.pop('malformed')
    assert bad_row == "e/c.d: line 3 is '1 2', not x y w h score"
    assert bad_file.startswith('e/folder: ')
    assert {kind: found for kind, found in report.odd.items() if found} == {
        'missing': ['e/x', 'f/a'],
        'empty': ['e/b'],
    }


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 5)))
def test_written_numbers_are_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp('results')
    assert write_results(folder, [('e/a', 'e/a.jpg', np.array(rows))]) == 1
    detections, report = read_results(folder, ['e/a'])
    np.testing.assert_array_equal(detections.rows, np.array(rows).reshape(-1, 5))
    assert not any(odd for kind, odd in report.odd.items() if kind not in ODD_VALUES)


@pytest.mark.parametrize(
    ('row', 'kinds'),
    [
        ('1 2 0 0 0', []),
        ('-1 -2 3 4 1', []),
        ('1 2 3 4 99', ['score']),
        ('1 2 3 4 -1e-9', ['score']),
        ('1 2 -3 4 0.5', ['size']),
        ('1 2 3 -4 2,', ['score', 'size']),
        ('NaN 2 3 4 2', ['not_finite']),
    ],
)
def test_odd_values(row, kinds):
    parsed = parse_result(f'n\n2\n1 2 3 4 0.5\n{row}\n'.encode())
    assert len(parsed.rows) == 2  # they are used as they are
    assert [kind for kind, _ in parsed.oddities] == kinds
    assert all('1 of 2, such as' in reason for _, reason in parsed.oddities)


def test_format(tmp_path):
    rows = [[1, 2.5, 30, 40, 0.125], [-1, 0, 5, 5, 1]]
    write_results(tmp_path / 'out', [('e/a', 'e/a.jpg', rows), ('e/b', 'e/b.jpg', [])])
    text = (tmp_path / 'out/e/a.txt').read_text()
    assert text == 'e/a.jpg\n2\n1 2.5 30 40 0.125\n-1 0 5 5 1\n'
    assert (tmp_path / 'out/e/b.txt').read_text() == 'e/b.jpg\n0\n'


@pytest.mark.parametrize('name', ['', '../a', 'e/../a', '/a', 'e/', 'e/..'])
def test_bad_name(tmp_path, name):
    with pytest.raises(ValueError, match='event/name'):
        write_results(tmp_path, [(name, '', [])])
