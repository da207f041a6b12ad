"""Result folders of WIDER FACE: one text file an image; NumPy only.

``<folder>/<event>/<name>.txt`` holds a line that names the image, the number of
detections, and one row ``x y w h score`` for each of them, in pixels.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .wider_face_eval import WIDERFaceDetections

#: What can be odd about numbers. They are used as they are, by the official tool as
#: well, but the figures are then hardly what they should be.
ODD_VALUES = {
    'not_finite': 'NaN or infinite numbers: used as they are',
    'score': 'scores outside 0..1: used as they are; one of them moves every AP of the '
    'official evaluation, which brings all scores to 0..1 by the greatest and least',
    'size': 'width or height below 0: used as they are',
}
#: What can be odd about the files of a folder, and what is done about it.
ODDITIES = {
    'missing': 'no file: no detections',
    'empty': 'nothing in it: no detections',
    'short': 'no count, or fewer rows than it says: no detections',
    'malformed': 'count or row is not as it must be: no detections',
    'extra': 'rows or columns beyond those used: passed over',
    **ODD_VALUES,
}

# A number as MATLAB reads it. Python's float() takes more: 1_0, infinity, digits of
# other scripts.
_NUMBER = re.compile(
    rb'[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|Inf|nan|NaN)', re.ASCII
)
_SEPARATOR = re.compile(rb'\s*[,\s]\s*')
# Rows of nothing but these are numbers of the plain kind, or float() says no.
_PLAIN = b'0123456789+-.eE '


class ReadReport(NamedTuple):
    """What was found in a result folder.

    Attributes:
        num_images: Images looked for.
        num_rows: Detections read.
        odd: Kind (see :data:`ODDITIES`) -> messages, each of which starts with
            ``event/name``.
    """

    num_images: int
    num_rows: int
    odd: dict[str, list[str]]


class ParsedFile(NamedTuple):
    """Content of one result file.

    Attributes:
        rows: Float64 (n, 5): x, y, w, h, score.
        oddities: Pairs of a kind (see :data:`ODDITIES`) and a reason.
    """

    rows: np.ndarray
    oddities: list[tuple[str, str]]


def read_results(
    folder: str | Path, names: Sequence[str]
) -> tuple[WIDERFaceDetections, ReadReport]:
    """Read a result folder as the official tool does.

    Nothing that is odd about a file stops it; see :data:`ODDITIES`. Files of other
    images are not looked at.

    Args:
        folder: Folder with one folder an event.
        names: ``event/name`` of the images, in the order of the ground truth.

    Returns:
        The detections, and what was odd.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f'no result folder {str(folder)!r}')
    tables = []
    odd: dict[str, list[str]] = {kind: [] for kind in ODDITIES}
    root = str(folder)
    for name in names:
        try:
            with open(f'{root}/{name}.txt', 'rb') as file:
                parsed = parse_result(file.read())
        except (FileNotFoundError, NotADirectoryError):
            parsed = ParsedFile(_NO_ROWS, [('missing', '')])
        except (OSError, ValueError) as error:  # ValueError: NUL in a name
            parsed = ParsedFile(_NO_ROWS, [('malformed', str(error))])
        tables.append(parsed.rows)
        for kind, reason in parsed.oddities:
            odd[kind].append(f'{name}: {reason}' if reason else name)
    detections = WIDERFaceDetections.from_images(tables)
    return detections, ReadReport(len(names), len(detections.rows), odd)


def parse_result(data: bytes) -> ParsedFile:
    """Read the content of one result file as the official tool does.

    The first line is passed over, the second is the count n, and the n lines after it
    are the detections; blank lines are lines. A row needs five numbers or more, with
    blanks or commas between them. (MATLAB would also evaluate expressions such as
    ``2*3``; those are malformed here.)

    Args:
        data: The content.

    Returns:
        The detections, none if the file is not in order.
    """
    lines = data.replace(b'\t', b' ').splitlines()
    if not data.strip():
        return ParsedFile(_NO_ROWS, [('empty', '')])
    if len(lines) < 2:
        return ParsedFile(_NO_ROWS, [('short', 'no line with the count')])
    count = _numbers(lines[1])
    if count is None or len(count) != 1 or not count[0].is_integer():
        reason = f'line 2 is {_shown(lines[1])}, not a count'
        return ParsedFile(_NO_ROWS, [('malformed', reason)])
    num_rows = max(int(count[0]), 0)
    lines = lines[2:]
    if len(lines) < num_rows:
        reason = f'{len(lines)} rows, {num_rows} announced'
        return ParsedFile(_NO_ROWS, [('short', reason)])
    extra = any(map(bytes.strip, lines[num_rows:]))
    lines = lines[:num_rows]
    rows = _plain_rows(lines)
    if rows is not None:
        oddities = [('extra', 'rows beyond the count')] if extra else []
        return ParsedFile(rows, oddities + odd_values(rows))
    return _parse_rows(lines, extra)


def odd_values(rows: np.ndarray) -> list[tuple[str, str]]:
    """What is odd about the numbers of an image.

    Args:
        rows: (n, 5): x, y, w, h, score.

    Returns:
        Pairs of a kind (see :data:`ODD_VALUES`) and how many rows, and the first.
    """
    finite = np.isfinite(rows).all(axis=1)
    scores = rows[:, 4]
    masks = dict(
        not_finite=~finite,
        score=finite & ((scores < 0) | (scores > 1)),
        size=finite & (rows[:, 2:4] < 0).any(axis=1),
    )
    return [
        (kind, f'{mask.sum()} of {len(rows)}, such as {_row(rows[mask.argmax()])}')
        for kind, mask in masks.items()
        if mask.any()
    ]


def _row(row: np.ndarray) -> str:
    return ' '.join(f'{value:g}' for value in row.tolist())


_NO_ROWS = np.zeros((0, 5))


def _plain_rows(lines: list[bytes]) -> np.ndarray | None:
    """Rows of exactly five plain numbers each, or None if some are not."""
    joined = b' '.join(lines)
    if joined.translate(None, _PLAIN):
        return None
    tokens = joined.split()
    if len(tokens) != 5 * len(lines):
        return None
    # Four blanks hold five tokens or fewer: then each row has five if all have.
    if not all(line.count(b' ') == 4 for line in lines):
        if not all(len(line.split()) == 5 for line in lines):
            return None
    try:
        values = np.fromiter(map(float, tokens), np.float64, len(tokens))
    except ValueError:
        return None
    if not np.isfinite(values).all():  # such as 1e999
        return None
    return values.reshape(-1, 5)


def _parse_rows(lines: list[bytes], extra_rows: bool) -> ParsedFile:
    """Rows of any kind, one by one."""
    rows = np.zeros((len(lines), 5))
    extra_columns = False
    for i, line in enumerate(lines):
        numbers = _numbers(line)
        if numbers is None or len(numbers) < 5:
            reason = f'line {i + 3} is {_shown(line)}, not x y w h score'
            return ParsedFile(_NO_ROWS, [('malformed', reason)])
        extra_columns |= len(numbers) > 5
        rows[i] = numbers[:5]
    oddities = []
    if extra_rows:
        oddities.append(('extra', 'rows beyond the count'))
    if extra_columns:
        oddities.append(('extra', 'columns beyond the score'))
    return ParsedFile(rows, oddities + odd_values(rows))


def _numbers(line: bytes) -> list[float] | None:
    """The numbers of a line, or None if it holds anything else."""
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
    """Write a result folder in the official format.

    Numbers are written as short as they can be so that reading gives the same ones
    back, whole numbers without a point.

    Args:
        folder: The folder; it is made, files of the same name are overwritten.
        results: For each image ``event/name``, the line that names it, and the rows
            (n, 5): x, y, w, h, score.

    Returns:
        Number of files written.

    Raises:
        ValueError: If a name is not a path below the folder.
    """
    folder = Path(folder)
    num_files = 0
    for name, title, rows in results:
        parts = name.split('/')
        if not all(parts) or '..' in parts:
            raise ValueError(f'{name!r} is not of the form event/name')
        path = folder / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        table = np.asarray(rows, np.float64).reshape(-1, 5).tolist()
        body = ''.join(' '.join(map(_short, row)) + '\n' for row in table)
        path.write_text(f'{title}\n{len(table)}\n{body}', encoding='utf-8')
        num_files += 1
    return num_files


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
