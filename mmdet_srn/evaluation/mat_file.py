"""Reader of MATLAB's .mat files, of every version, into plain Python."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

_HDF5_SIGNATURE = b'\x89HDF\r\n\x1a\n'


def load_mat(path: str | Path, names: Iterable[str]) -> dict[str, Any]:
    """Read variables of a .mat file (v4 to v7 through SciPy, v7.3 through h5py).

    Args:
        path: The file.
        names: Variables to read.

    Returns:
        Name -> value: cells as (nested) lists in MATLAB's linear order, text as str,
        numbers as arrays of two or more dimensions, as MATLAB shows them.

    Raises:
        OSError: If the file cannot be read.
        KeyError: If a variable is missing.
        ValueError: If this is no .mat file, or a broken one.
        ImportError: If it is of version 7.3 and h5py is not installed.
    """
    path = Path(path)
    names = list(names)
    with path.open('rb') as file:
        # MATLAB puts a text header of 512 bytes before the HDF5 data.
        head = file.read(512 + len(_HDF5_SIGNATURE))
    if _HDF5_SIGNATURE in (head[:8], head[512:]):
        return _load_hdf5(path, names)
    try:
        content = loadmat(path, variable_names=names)
    except Exception as error:  # SciPy raises whatever a broken file leads to
        raise ValueError(f'{path} is not a MATLAB file: {error}') from error
    _check_names(path, names, content)
    return {name: _plain(content[name]) for name in names}


def _check_names(path: Path, names: list[str], content: Iterable[str]) -> None:
    if missing := [name for name in names if name not in content]:
        raise KeyError(f'{path} has no variable {", ".join(missing)}')


def _plain(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [_plain(item) for item in value.ravel(order='F')]
    if value.dtype.kind == 'U':
        return ''.join(value.ravel().tolist())
    return value


def _load_hdf5(path: Path, names: list[str]) -> dict[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f'{path} is a MATLAB v7.3 file; reading it needs h5py: pip install h5py'
        ) from error
    try:
        opened = h5py.File(path, 'r')
    except OSError as error:
        raise ValueError(f'{path} is not a MATLAB file: {error}') from error
    with opened as file:
        _check_names(path, names, file)
        return {name: _plain_hdf5(file, file[name]) for name in names}


def _plain_hdf5(file: Any, data: Any) -> Any:
    kind = data.attrs.get('MATLAB_class', b'double').decode()
    empty = bool(data.attrs.get('MATLAB_empty', 0))  # the data are then the shape
    if kind == 'cell':
        references = () if empty else data[()].ravel()
        return [_plain_hdf5(file, file[reference]) for reference in references]
    if kind == 'char':
        return '' if empty else ''.join(map(chr, data[()].ravel().tolist()))
    if empty:
        return np.zeros(data[()].astype(int), np.float64 if kind == 'double' else kind)
    return data[()].T  # HDF5 is row-major, MATLAB column-major
