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
        ValueError: If this is no .mat file, a broken one, or a variable is missing.
        ImportError: If it is of version 7.3 and h5py is not installed.
    """
    path = Path(path)
    names = list(names)
    with path.open('rb') as file:
        # MATLAB puts a text header of 512 bytes before the HDF5 data.
        head = file.read(512 + len(_HDF5_SIGNATURE))
    hdf5 = _HDF5_SIGNATURE in (head[:8], head[512:])
    try:
        found = _load_hdf5(path, names) if hdf5 else _load_scipy(path, names)
    except ImportError as error:
        raise ImportError(
            f'{path} is a MATLAB v7.3 file; reading it needs h5py: pip install h5py'
        ) from error
    # Both readers raise whatever a broken file leads to: RecursionError for cells
    # that hold themselves, MemoryError for sizes that nothing has.
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'{path} is not a MATLAB file: {reason}') from error
    if missing := [name for name in names if name not in found]:
        raise ValueError(f'{path} has no variable {", ".join(missing)}')
    return found


def _load_scipy(path: Path, names: list[str]) -> dict[str, Any]:
    content = loadmat(path, variable_names=names)
    return {name: _plain(content[name]) for name in names if name in content}


def _plain(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [_plain(item) for item in value.ravel(order='F')]
    if value.dtype.kind == 'U':
        return ''.join(value.ravel().tolist())
    return value


def _load_hdf5(path: Path, names: list[str]) -> dict[str, Any]:
    import h5py

    with h5py.File(path, 'r') as file:
        # Cells that were read: 40 of them, each of which holds the next one twice,
        # would take for ever.
        seen: set = set()
        return {
            name: _plain_hdf5(file, file[name], seen) for name in names if name in file
        }


def _plain_hdf5(file: Any, data: Any, seen: set) -> Any:
    kind = data.attrs.get('MATLAB_class', b'double').decode()
    empty = bool(data.attrs.get('MATLAB_empty', 0))  # the data are then the shape
    if kind == 'cell':
        references = () if empty else data[()].ravel()
        # MATLAB itself writes the same empty cell for all of them.
        if len(references) and data in seen:
            raise ValueError(f'the cell {data.name} is there more than once')
        seen.add(data)
        return [_plain_hdf5(file, file[reference], seen) for reference in references]
    if kind == 'char':
        return '' if empty else ''.join(map(chr, data[()].ravel().tolist()))
    if empty:
        return np.zeros(data[()].astype(int), np.float64 if kind == 'double' else kind)
    return data[()].T  # HDF5 is row-major, MATLAB column-major
