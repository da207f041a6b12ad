import inspect
import sys

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mmdet_srn.evaluation.mat_file import load_mat
from tests.test_evaluation.mat_writer import write_v5, write_v73

CONTENT = dict(
    text='pedestrian',
    table=np.arange(6.0).reshape(3, 2),
    whole=np.array([[1, 2, 3]], 'i4'),
    cells=['a', ['b', np.ones((2, 1), 'u1')], np.zeros((0, 4), 'i4')],
    nothing=[],
)


@pytest.mark.parametrize('write', [write_v5, write_v73])
def test_plain_values(tmp_path, write):
    write(tmp_path / 'x.mat', CONTENT)
    read = load_mat(tmp_path / 'x.mat', CONTENT)
    assert read['text'] == 'pedestrian'
    np.testing.assert_array_equal(read['table'], CONTENT['table'])
    assert read['whole'].dtype == np.int32
    assert read['whole'].tolist() == [[1, 2, 3]]
    assert read['nothing'] == []
    first, (second, ones), empty = read['cells']
    assert (first, second) == ('a', 'b')
    assert ones.tolist() == [[1], [1]]
    assert empty.shape == (0, 4)


@pytest.mark.parametrize('compressed', [False, True])
def test_structs(tmp_path, compressed):
    table = np.empty((2, 1), [('name', object), ('a_longer_one', object)])
    table[0, 0] = ('x', np.array([[1, 2]], 'u1'))
    table[1, 0] = ('', np.zeros((0, 0)))
    content = dict(table=table, single=dict(inner=dict(value='deep')))
    savemat(tmp_path / 'x.mat', content, do_compression=compressed)
    read = load_mat(tmp_path / 'x.mat', content)
    first, second = read['table']
    assert (first['name'], first['a_longer_one'].tolist()) == ('x', [[1, 2]])
    assert (second['name'], second['a_longer_one'].shape) == ('', (0, 0))
    assert read['single'] == [{'inner': [{'value': 'deep'}]}]


@pytest.mark.parametrize('write', [write_v5, write_v73])
def test_missing_variable(tmp_path, write):
    with pytest.raises(FileNotFoundError):
        load_mat(tmp_path / 'x.mat', ['a'])
    write(tmp_path / 'x.mat', dict(text='a'))
    with pytest.raises(ValueError, match='x.mat has no variable b, c'):
        load_mat(tmp_path / 'x.mat', ['text', 'b', 'c'])


@pytest.mark.parametrize(
    'content', [b'', b'text', b'\x89HDF\r\n\x1a\nbroken', b'\x01' * 300]
)
def test_broken_file(tmp_path, content):
    (tmp_path / 'x.mat').write_bytes(content)
    with pytest.raises(ValueError, match='x.mat is not a MATLAB file'):
        load_mat(tmp_path / 'x.mat', ['a'])


def _write_cells(path, content):
    """An HDF5 file whose variable a is a cell that holds what is given."""
    with h5py.File(path, 'w') as file:
        cell = file.create_dataset('a', (1, 1), h5py.ref_dtype)
        cell.attrs['MATLAB_class'] = np.bytes_('cell')
        cell[0, 0] = content(file).ref


def _doubled(file):
    """40 cells, each of which holds the next one twice."""
    inner = file.create_dataset('number', data=np.ones((1, 1)))
    for number in range(40):
        cell = file.create_dataset(f'cell{number}', (2, 1), h5py.ref_dtype)
        cell.attrs['MATLAB_class'] = np.bytes_('cell')
        cell[:, 0] = inner.ref
        inner = cell
    return inner


def _huge(file):
    data = file.create_dataset('size', data=np.array([2**40, 2**40], 'u8'))
    data.attrs['MATLAB_empty'] = np.uint8(1)
    return data


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (lambda file: file['a'], 'ValueError: the cell /a is there more than once'),
        (_doubled, 'ValueError: the cell /cell0 is there more than once'),
        (lambda file: file.create_group('group'), 'TypeError'),
        (_huge, ''),
    ],
)
def test_hostile_cells(tmp_path, content, reason):
    _write_cells(tmp_path / 'x.mat', content)
    with pytest.raises(ValueError, match=f'x.mat is not a MATLAB file: {reason}'):
        load_mat(tmp_path / 'x.mat', ['a'])


def test_deeply_nested_cells(tmp_path):
    path = tmp_path / 'x.mat'
    nested = 'a'
    for _ in range(300):
        nested = [nested]
    write_v5(path, dict(a=nested))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        with pytest.raises(ValueError, match='x.mat is not a MATLAB file: Recursion'):
            load_mat(path, ['a'])
    finally:
        sys.setrecursionlimit(limit)


def _as_plain(value):
    if value.dtype == object:
        return [_as_plain(item) for item in value.ravel(order='F')]
    return ''.join(value.ravel()) if value.dtype.kind == 'U' else value.tolist()


def _as_lists(value):
    if isinstance(value, list):
        return [_as_lists(item) for item in value]
    return value if isinstance(value, str) else value.tolist()


def test_official_file_as_scipy_reads_it(shared_data):
    path = shared_data / 'annotations/eval_ground_truth/wider_hard_val.mat'
    expected = loadmat(path)
    names = [name for name in expected if not name.startswith('__')]
    found = load_mat(path, names)
    assert len(found) >= 9
    for name in names:
        assert _as_lists(found[name]) == _as_plain(expected[name]), name


@pytest.mark.parametrize('at', [136, 144, 160, 200])
def test_damaged_headers(tmp_path, at):
    """SciPy's reader ended the process on some of them."""
    write_v5(tmp_path / 'x.mat', CONTENT)
    data = bytearray((tmp_path / 'x.mat').read_bytes())
    data[at : at + 8] = b'\xff' * 8
    (tmp_path / 'x.mat').write_bytes(data)
    with pytest.raises(ValueError, match=r'x\.mat'):
        load_mat(tmp_path / 'x.mat', CONTENT)
