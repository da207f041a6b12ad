"""Writes ground truth as the official .mat files, in both of MATLAB's formats."""

import h5py
import numpy as np
from scipy.io import savemat

ATTRIBUTES = ('blur', 'expression', 'illumination', 'invalid', 'occlusion', 'pose')


def write_v5(path, content):
    savemat(path, {name: _cells(value) for name, value in content.items()})


def _cells(value):
    if not isinstance(value, list):
        return value
    cells = np.empty((len(value), 1), object)
    for i, item in enumerate(value):
        cells[i, 0] = _cells(item)
    return cells


def write_v73(path, content):
    """As MATLAB -v7.3 does: transposed, cells and empty arrays by attribute."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        for name, value in content.items():
            _write(file, name, value)
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM')


def _write(file, name, value):
    if isinstance(value, list):
        items = [_write(file, f'#refs#/{name}_{i}', v) for i, v in enumerate(value)]
        references = np.array([[item.ref for item in items]], h5py.ref_dtype)
        data = file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
        kind = 'cell'
    elif isinstance(value, str):
        data = file.create_dataset(name, data=np.array([[ord(c)] for c in value], 'u2'))
        kind = 'char'
    elif value.size == 0:
        data = file.create_dataset(name, data=np.array(value.shape, 'u8'))
        data.attrs['MATLAB_empty'] = np.uint8(1)
        kind = value.dtype.name
    else:
        data = file.create_dataset(name, data=value.T)
        kind = value.dtype.name
    kind = dict(float64='double', float32='single').get(kind, kind)
    data.attrs['MATLAB_class'] = np.bytes_(kind)
    return data


def write_ground_truth(folder, images, subsets, write=write_v5):
    """The three official files.

    Args:
        folder: The folder.
        images: ``event/name`` -> list of (x, y, w, h).
        subsets: Subset -> ``event/name`` -> rows from 1, as MATLAB counts.
        write: write_v5 or write_v73.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = sorted({name.split('/')[0] for name in images})
    by_event = [[n for n in images if n.split('/')[0] == event] for event in events]

    def per_image(function):
        return [[function(name) for name in names] for names in by_event]

    content = dict(
        event_list=events,
        file_list=per_image(lambda name: name.split('/')[1]),
        face_bbx_list=per_image(lambda n: np.array(images[n], 'i4').reshape(-1, 4)),
    )
    for number, attribute in enumerate(ATTRIBUTES):
        content[f'{attribute}_label_list'] = per_image(
            lambda n, number=number: np.full((len(images[n]), 1), number % 2, 'u1')
        )
    for subset in ('easy', 'medium', 'hard'):
        rows = subsets.get(subset, {})
        index = per_image(lambda n, r=rows: np.array([r.get(n, [])], 'u1').T)
        write(folder / f'wider_{subset}_val.mat', dict(content, gt_list=index))
