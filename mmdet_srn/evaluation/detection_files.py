"""Detections by image, as our command and the benchmarks' tools write them.

- ``faces.jsonl`` of ``python -m mmdet_srn --format json``.
- Blocks: a line with the image's name, one with the number of faces, and a row for
  each, ``x y w h score`` or ``major_radius minor_radius angle center_x center_y score``
  (radians). FDDB's README.txt defines them, for annotation too; a result file of WIDER
  FACE is one block.
- Rows ``name score x1 y1 x2 y2``, face-eval's for AFW and PASCAL face.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from .image_names import match_end
from .prediction_file import read_json_lines

#: Place in the file; image; (n, 5) x, y, w, h, score or (n, 6) ellipse, score; width
#: and height, of faces.jsonl alone.
Record: TypeAlias = tuple[str, str, np.ndarray, tuple[int, int] | None]

_MAX_PIXELS = 1e5  # of a coordinate
_MAX_AREA = 2**28  # of an image


class Detections(NamedTuple):
    """What was found in the images of a benchmark."""

    rows: dict[str, np.ndarray]  # as in Record
    sizes: dict[str, tuple[int, int]]
    others: set[str]  # images that are not the benchmark's: left out


def read_detections(path: Path, names: Collection[str]) -> Detections:
    """Read a file, or all ``.txt`` files below a folder; the content tells the format.

    Args:
        path: The file or folder.
        names: The benchmark's images without suffix, such as 2002/07/19/big/img_130.
            Those of the file may lie in any parent folder.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a line is malformed or an image comes twice, with file and line;
            if no image is the benchmark's.
    """
    rows, sizes, others = found = Detections({}, {}, set())
    for file in sorted(path.rglob('*.txt')) if path.is_dir() else [path]:
        for where, image, faces, size in _records(file):
            image = re.sub(r'(?i)\.(jpe?g|png|bmp)$', '', image)
            name = match_end(image, names)
            if name is None:
                others.add(image)
                continue
            if name in rows:
                raise ValueError(f'{where}: the image {name} came before')
            rows[name] = faces
            if size:
                sizes[name] = size
    if not rows:
        raise ValueError(
            f'{path} has none of the {len(names)} annotated images, such as '
            f'{min(names, default="(none)")}, but {min(others, default="no image")}; '
            'FDDB needs whole paths: python -m mmdet_srn --format json writes them'
        )
    return found


def _records(path: Path) -> Iterator[Record]:
    _, first = next(_lines(path), (0, ''))
    if not first:
        raise ValueError(f'{path} is empty')
    if first.startswith('{'):
        return _read_json_lines(path)
    if re.fullmatch(r'\S.*(\s+[-+.\deE]+){5}', first):
        return _read_rows(path)
    return read_blocks(path)


def read_blocks(path: Path) -> Iterator[Record]:
    """Read blocks of name, count and rows."""
    lines = _lines(path)
    for number, name in lines:
        start = f'{path}:{number}'
        number, count = next(lines, (number + 1, ''))
        if not re.fullmatch(r'\d{1,9}', count):
            raise ValueError(f'{path}:{number}: {count!r} is no count of faces')
        rows = []
        for _ in range(int(count)):
            number, line = next(lines, (number + 1, ''))
            rows.append(_check_row(f'{path}:{number}', line.split()))
            if len(rows[-1]) != len(rows[0]):
                raise ValueError(f'{path}:{number}: boxes and ellipses are mixed')
        yield start, name, np.array(rows) if rows else np.zeros((0, 5)), None


def _read_rows(path: Path) -> Iterator[Record]:
    images: dict[str, list[list[float]]] = {}
    for number, line in _lines(path):
        where = f'{path}:{number}'
        try:
            name, *texts = line.rsplit(maxsplit=5)
            score, x1, y1, x2, y2 = map(float, texts)
        except ValueError:
            raise ValueError(f'{where}: not "name score x1 y1 x2 y2"') from None
        row = _check_row(where, [x1, y1, x2 - x1, y2 - y1, score])
        images.setdefault(name, []).append(row)
    for name, rows in images.items():
        yield str(path), name, np.array(rows), None


def _read_json_lines(path: Path) -> Iterator[Record]:
    for number, image in enumerate(read_json_lines(path), 1):
        where, found = f'{path}:{number}', image['pred_instances']
        low, high = np.split(found['bboxes'], 2, axis=1)
        rows = np.column_stack((low, high - low, found['scores'])).tolist()
        height, width = image['ori_shape']
        if min(height, width) < 1 or height * width > _MAX_AREA:
            raise ValueError(f'{where}: an image of {width} x {height} pixels')
        table = [_check_row(where, row) for row in rows]
        name = image['img_path']
        yield where, name, np.array(table).reshape(-1, 5), (width, height)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and content of the lines that are not blank."""
    with path.open(encoding='utf-8', errors='surrogateescape') as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.strip()


def _check_row(where: str, values: Iterable) -> list[float]:
    """Return the numbers of a box or an ellipse, and its score."""
    try:
        row = [float(value) for value in values]
    except (ValueError, TypeError, OverflowError):
        row = []
    ellipse = len(row) == 6
    if (
        len(row) not in (5, 6)
        or not all(abs(value) <= _MAX_PIXELS for value in row[:-1])  # nor NaN
        or not math.isfinite(row[-1])
        or min(row[:2] if ellipse else row[2:4]) < 0
        or (ellipse and abs(row[2]) > 2 * math.pi)
    ):
        raise ValueError(
            f'{where}: neither a box "x y w h score" nor an ellipse "major_radius '
            'minor_radius angle center_x center_y score" (radians)'
        )
    return row
