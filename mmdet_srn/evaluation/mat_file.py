"""Reader of MATLAB's .mat files into plain Python.

SciPy's reader crashes the process on some damaged files (SIGSEGV), so the needed part
of versions 5 to 7 is read here: cells, structs, text and real numbers
(https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_HDF5_SIGNATURE = b'\x89HDF\r\n\x1a\n'


def load_mat(path: str | Path, names: Iterable[str]) -> dict[str, Any]:
    """Read variables of a .mat file of version 5 to 7 or, through h5py, 7.3.

    Returns:
        Name -> value: cells as (nested) lists in MATLAB's linear order, structs (not
        of version 7.3) as lists of dicts, text as str, numbers as arrays of at least
        two dimensions.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a valid .mat file, or a variable is missing.
        ImportError: If it is of version 7.3 and h5py is not installed.
    """
    path = Path(path)
    names = list(names)
    with path.open('rb') as file:
        # MATLAB puts a text header of 512 bytes before the HDF5 data.
        head = file.read(512 + len(_HDF5_SIGNATURE))
    hdf5 = _HDF5_SIGNATURE in (head[:8], head[512:])
    try:
        found = (_load_hdf5 if hdf5 else _load_v5)(path, names)
    except ImportError as error:
        raise ImportError(
            f'{path} is a MATLAB v7.3 file; reading it needs h5py: pip install h5py'
        ) from error
    # Anything that a broken file causes, such as RecursionError (cells that hold
    # themselves) or MemoryError (absurd sizes).
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'{path} is not a MATLAB file: {reason}') from error
    if missing := [name for name in names if name not in found]:
        raise ValueError(f'{path} has no variable {", ".join(missing)}')
    return found


# Types of elements and classes of arrays -> NumPy's names
_MATRIX, _COMPRESSED, _UTF8 = 14, 15, 16
_TYPES = {
    **{1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4'},
    **{7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8', 17: 'u2'},
}
_CELL, _STRUCT, _CHAR, _COMPLEX = 1, 2, 4, 0x800
_CLASSES = {
    **{6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2'},
    **{12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8'},
}
_MAX_BYTES = 1 << 30  # of a variable once decompressed


def _load_v5(path: Path, names: list[str]) -> dict[str, Any]:
    data = memoryview(path.read_bytes())
    order = {b'IM': '<', b'MI': '>'}[bytes(data[126:128])]
    found = {}
    for kind, content in _elements(data[128:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(content, _MAX_BYTES)
            if not unpacker.eof:
                raise ValueError('a variable is cut off, or too large')
            ((kind, content),) = _elements(memoryview(unpacked), order)
        if kind == _MATRIX:
            elements = _elements(content, order)
            flags, shape, name = _header(elements, order)
            if name in names:
                found[name] = _value(flags, shape, elements, order)
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each element in a row of them."""
    at = 0
    while at < len(data):
        (kind,) = struct.unpack_from(f'{order}I', data, at)
        if kind >> 16:  # up to four bytes, packed into the tag
            kind, size, start, width = kind & 0xFFFF, kind >> 16, at + 4, 4
        else:
            (size,) = struct.unpack_from(f'{order}I', data, at + 4)
            start, width = at + 8, 1 if kind == _COMPRESSED else 8
        if start + size > len(data) or (start == at + 4 and size > 4):
            raise ValueError('an element is cut off')
        yield kind, data[start : start + size]
        at = start + -(-size // width) * width


def _header(
    elements: Iterator[tuple[int, memoryview]], order: str
) -> tuple[int, tuple[int, ...], str]:
    """Read flags, shape and name of an array, whose other elements are left."""
    (_, flags), (_, shape), (_, name) = (next(elements) for _ in range(3))
    shape = np.frombuffer(shape, f'{order}i4').tolist()
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f'an array of shape {shape}')
    return struct.unpack_from(f'{order}I', flags)[0], tuple(shape), str(name, 'latin-1')


def _value(
    flags: int,
    shape: tuple[int, ...],
    elements: Iterator[tuple[int, memoryview]],
    order: str,
) -> Any:
    kind = flags & 0xFF
    if kind in (_CELL, _STRUCT):
        fields = _fields(elements, order) if kind == _STRUCT else ['']
        cells = []
        for _, content in elements:
            if not content:  # an empty array
                cells.append(np.zeros((0, 0)))
                continue
            inner = _elements(content, order)
            cell_flags, cell_shape, _ = _header(inner, order)
            cells.append(_value(cell_flags, cell_shape, inner, order))
        if len(cells) != math.prod(shape) * len(fields):
            raise ValueError(f'an array of shape {shape} with {len(cells)} values')
        if kind == _CELL:
            return cells
        rows = (cells[i : i + len(fields)] for i in range(0, len(cells), len(fields)))
        return [dict(zip(fields, row, strict=True)) for row in rows]
    if (kind not in _CLASSES and kind != _CHAR) or flags & _COMPLEX:
        raise ValueError(f'an array of class {kind}, flags {flags:#x}, is not read')
    stored, content = next(elements, (1, b''))
    if kind == _CHAR and stored == _UTF8:
        return str(content, 'utf-8')
    values = np.frombuffer(content, f'{order}{_TYPES[stored]}')
    values = values.reshape(shape, order='F')
    if kind == _CHAR:
        return ''.join(map(chr, values.ravel().tolist()))
    return values.astype(_CLASSES[kind])


def _fields(elements: Iterator[tuple[int, memoryview]], order: str) -> list[str]:
    """Read the names of a struct's fields, which are of one length."""
    (_, length), (_, names) = next(elements), next(elements)
    (length,) = struct.unpack_from(f'{order}i', length)
    texts = (names[i : i + length] for i in range(0, len(names), length))
    return [str(text, 'latin-1').split('\0')[0] for text in texts]


def _load_hdf5(path: Path, names: list[str]) -> dict[str, Any]:
    import h5py

    with h5py.File(path, 'r') as file:
        # Cells already read: 40 cells that hold the next one twice would take forever.
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
