"""Result folders of WIDER FACE: one text file per image; NumPy only.

``<folder>/<event>/<name>.txt`` holds the image's name, the number of detections, and
one row ``x y w h score`` for each of them, in pixels.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .wider_face_eval import WIDERFaceDetections

#: Odd numbers: used as they are, also by the official tool, though they spoil figures.
ODD_VALUES = {
    'not_finite': 'NaN or infinite numbers: used as they are',
    'score': 'scores outside 0..1: used as they are; a single one changes every AP of '
    'the official evaluation, which scales all scores by their minimum and maximum',
    'size': 'width or height below 0: used as they are',
}
#: Odd files, and what is done about them.
ODDITIES = {
    'missing': 'no file: no detections',
    'empty': 'nothing in it: no detections',
    'short': 'no count, or fewer rows than it says: no detections',
    'malformed': 'count or row cannot be read: no detections',
    'extra': 'rows or columns beyond those used: ignored',
    **ODD_VALUES,
}

# A number as MATLAB reads it; float() also takes 1_0, infinity and foreign digits.
_NUMBER = re.compile(
    rb'[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|Inf|nan|NaN)', re.ASCII
)
_SEPARATOR = re.compile(rb'\s*[,\s]\s*')
# Rows of nothing but these are numbers of the plain kind, or float() says no.
_PLAIN = b'0123456789+-.eE '


class ReadReport(NamedTuple):
    """What was found in a result folder."""

    num_images: int  # looked for
    num_rows: int  # detections read
    odd: dict[str, list[str]]  # kind of ODDITIES -> 'event/name: reason'


class ParsedFile(NamedTuple):
    """Content of one result file."""

    rows: np.ndarray  # float64 (n, 5): x, y, w, h, score
    oddities: list[tuple[str, str]]  # pairs of a kind of ODDITIES and a reason


def read_results(
    folder: str | Path, names: Sequence[str]
) -> tuple[WIDERFaceDetections, ReadReport]:
    """Read the files of images ``event/name`` as the official tool does.

    Odd files never raise an error; see :data:`ODDITIES`.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    root = str(folder)
    if not os.path.isdir(root):
        raise NotADirectoryError(f'no result folder {root!r}')
    tables = []
    odd: dict[str, list[str]] = {kind: [] for kind in ODDITIES}
    for name in names:
        try:
            with open(f'{root}/{name}.txt', 'rb') as file:
                parsed = parse_result(file.read())
        except (FileNotFoundError, NotADirectoryError):
            parsed = _refused('missing')
        except (OSError, ValueError) as error:  # ValueError: NUL in a name
            parsed = _refused('malformed', str(error))
        tables.append(parsed.rows)
        for kind, reason in parsed.oddities:
            odd[kind].append(f'{name}: {reason}' if reason else name)
    detections = WIDERFaceDetections.from_images(tables)
    return detections, ReadReport(len(names), len(detections.rows), odd)


def parse_result(data: bytes) -> ParsedFile:
    """Read the content of one result file as the official tool does.

    The first line is ignored, the second is the count n, and the next n lines, blank
    ones included, are the detections. A row needs at least five numbers, separated by
    blanks or commas. (MATLAB would also evaluate expressions such as ``2*3``; here they
    are malformed.) A file that is not in order has no detections.
    """
    lines = data.replace(b'\t', b' ').splitlines()
    if not data.strip():
        return _refused('empty')
    if len(lines) < 2:
        return _refused('short', 'no line with the count')
    count = _numbers(lines[1])
    if count is None or len(count) != 1 or not count[0].is_integer():
        return _refused('malformed', f'line 2 is {_shown(lines[1])}, not a count')
    num_rows = max(int(count[0]), 0)
    lines, rest = lines[2 : 2 + num_rows], lines[2 + num_rows :]
    if len(lines) < num_rows:
        return _refused('short', f'{len(lines)} rows, {num_rows} announced')
    oddities = [('extra', 'rows beyond the count')] * any(map(bytes.strip, rest))
    rows = _plain_rows(lines)
    if rows is None:
        rows = np.zeros((num_rows, 5))
        extra_columns = False
        for i, line in enumerate(lines):
            numbers = _numbers(line)
            if numbers is None or len(numbers) < 5:
                reason = f'line {i + 3} is {_shown(line)}, not x y w h score'
                return _refused('malformed', reason)
            extra_columns |= len(numbers) > 5
            rows[i] = numbers[:5]
        oddities += [('extra', 'columns beyond the score')] * extra_columns
    return ParsedFile(rows, oddities + odd_values(rows))


def _refused(kind: str, reason: str = '') -> ParsedFile:
    return ParsedFile(np.zeros((0, 5)), [(kind, reason)])


def odd_values(rows: np.ndarray) -> list[tuple[str, str]]:
    """List what is odd about rows (n, 5) of x, y, w, h, score.

    Returns:
        Pairs of a kind (see :data:`ODD_VALUES`) and the number of rows with an example.
    """
    finite = np.isfinite(rows).all(axis=1)
    scores = rows[:, 4]
    masks = dict(
        not_finite=~finite,
        score=finite & ((scores < 0) | (scores > 1)),
        size=finite & (rows[:, 2:4] < 0).any(axis=1),
    )
    odd = []
    for kind, mask in masks.items():
        if mask.any():
            first = ' '.join(f'{value:g}' for value in rows[mask.argmax()].tolist())
            odd.append((kind, f'{mask.sum()} of {len(rows)}, such as {first}'))
    return odd


def _plain_rows(lines: list[bytes]) -> np.ndarray | None:
    """Read rows of exactly five plain numbers each, fast; None if some are not."""
    rows = [line.split() for line in lines]
    if b''.join(lines).translate(None, _PLAIN) or any(len(row) != 5 for row in rows):
        return None
    try:
        values = np.array(rows, np.float64).reshape(-1, 5)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None  # infinite: such as 1e999


def _numbers(line: bytes) -> list[float] | None:
    """Read the numbers of a line; None if it holds anything else."""
    # A row vector in MATLAB may end in a separator.
    line = line.strip().rstrip(b',;').strip()
    tokens = _SEPARATOR.split(line) if line else []
    if not all(map(_NUMBER.fullmatch, tokens)):
        return None
    return [float(token) for token in tokens]


def _shown(line: bytes) -> str:
    text = line.decode('utf-8', 'replace')
    return repr(text if len(text) <= 40 else f'{text[:40]}...')


def write_results(
    folder: str | Path, results: Iterable[tuple[str, str, np.ndarray]]
) -> int:
    """Write a result folder in the official format, replacing files.

    Numbers are as short as possible while reading restores them exactly.

    Args:
        folder: The folder, created if missing.
        results: For each image ``event/name``, its title line, and rows (n, 5) of x, y,
            w, h, score.

    Returns:
        Number of files written.

    Raises:
        ValueError: If a name is not a path below the folder.
    """
    num_files = 0
    for name, title, rows in results:
        parts = name.split('/')
        if not all(parts) or '..' in parts:
            raise ValueError(f'{name!r} is not of the form event/name')
        path = Path(folder, f'{name}.txt')
        path.parent.mkdir(parents=True, exist_ok=True)
        table = np.asarray(rows, np.float64).reshape(-1, 5).tolist()
        body = ''.join(' '.join(map(_short, row)) + '\n' for row in table)
        path.write_text(f'{title}\n{len(table)}\n{body}', encoding='utf-8')
        num_files += 1
    return num_files


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
