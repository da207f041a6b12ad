"""Reader of WIDER FACE's official text annotation; needs only NumPy.

The official files (``wider_face_split/wider_face_{train,val}_bbx_gt.txt``) hold, for
each image, its path below ``WIDER_{train,val}/images``, the number of faces and a row
of ten integers for each face. An image without faces has the count 0 and still a row
of zeros. ``wider_face_test_filelist.txt`` holds image paths only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

#: The columns of a face row. x, y (top left corner), w, h are in pixels.
FACE_FIELDS = (
    *('x', 'y', 'w', 'h'),
    *('blur', 'expression', 'illumination', 'invalid', 'occlusion', 'pose'),
)
#: The columns that describe a face rather than place it.
ATTRIBUTES = FACE_FIELDS[4:]

_INT32 = np.iinfo(np.int32)
_ZEROS = ['0'] * len(FACE_FIELDS)


class AnnotationError(ValueError):
    """A malformed annotation; the message starts with the file, text with the line."""


class ImageRecord(NamedTuple):
    """What the annotation says about an image."""

    path: str  # event/name.jpg; backslashes, as of Windows, are made slashes
    faces: np.ndarray  # int32 (N, 10), columns as in FACE_FIELDS
    line: int  # of the path, from 1
    annotated: bool = True  # with a number of faces, which a file list lacks

    @property
    def img_id(self) -> str:
        """Path without its suffix: ``0--Parade/0_Parade_marchingband_1_465``."""
        return _stem(self.path)


def read_wider_face_txt(path: str | Path) -> list[ImageRecord]:
    """Read an annotation or a file list, see :func:`parse_wider_face_txt`."""
    return parse_wider_face_txt(Path(path).read_bytes(), str(path))


def parse_wider_face_txt(
    text: str | bytes, source: str = '<string>'
) -> list[ImageRecord]:
    """Parse an annotation or a file list.

    A text in which no line is a bare integer is a file list: one path a line, and no
    record has faces. Lines may end in LF, CRLF or CR; spaces around a line, a byte
    order mark and empty lines at the end of the text are ignored. The row of zeros
    after a count of 0 may be missing.

    Args:
        text: The text, or its UTF-8 bytes.
        source: Name of the text for error messages.

    Returns:
        One record an image, in the text's order.

    Raises:
        AnnotationError: If a path, a count or a face row is missing or malformed, or
            if two images have the same name (the suffix aside). A width or height of
            zero or less is allowed: the official files hold some.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode('utf-8')
        except UnicodeDecodeError as error:
            line = len((text[: error.start] + b'.').splitlines())
            raise AnnotationError(f'{source}:{line}: not UTF-8: {error}') from error
    # Not splitlines, which splits at characters that a path may have.
    text = text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    lines = [line.strip() for line in text.split('\n')]
    while lines and not lines[-1]:
        lines.pop()
    parser = _Parser(lines, source)
    return parser.annotation() if any(map(_is_int, lines)) else parser.file_list()


def _is_int(word: str) -> bool:
    """Tell an optional minus sign and ASCII digits from anything else."""
    # int() raises an error of its own on more than 4300 digits.
    return len(word) < 100 and word.isascii() and word.removeprefix('-').isdigit()


def are_numbers(words: Sequence[str]) -> bool:
    """Tell whether there are words, and all of them are numbers."""
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False


def _stem(path: str) -> str:
    """Remove the suffix, if there is one."""
    name = path.rpartition('/')[2]
    dot = name.rfind('.')
    return path[: dot - len(name)] if 0 < dot < len(name) - 1 else path


def _shorten(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + '...')


class _Parser:
    """Walk over the stripped lines of a text; an index counts from 0."""

    def __init__(self, lines: Sequence[str], source: str) -> None:
        self.lines = lines
        self.source = source
        self.seen: dict[str, int] = {}

    def fail(self, index: int, message: str) -> NoReturn:
        raise AnnotationError(f'{self.source}:{index + 1}: {message}')

    def file_list(self) -> list[ImageRecord]:
        none = np.zeros((0, len(FACE_FIELDS)), np.int32)
        return [
            ImageRecord(self.path(i), none, i + 1, annotated=False)
            for i in range(len(self.lines))
        ]

    def annotation(self) -> list[ImageRecord]:
        records = []
        index, end = 0, len(self.lines)
        while index < end:
            path = self.path(index)
            count = self.count(index + 1, path)
            start = index + 2
            # A missing row shows first where the next path stands in its place, so
            # read the rows that are there before blaming the end.
            last = min(start + count, end)
            rows = [self.row(index, path) for index in range(start, last)]
            if len(rows) < count:
                self.fail(
                    end - 1,
                    f'the file ends after {len(rows)} of {count} faces of {path}',
                )
            faces = np.array(rows, np.int32).reshape(-1, len(FACE_FIELDS))
            records.append(ImageRecord(path, faces, index + 1))
            index = start + count
            if count == 0 and index < end and self.lines[index].split() == _ZEROS:
                index += 1
        return records

    def path(self, index: int) -> str:
        path = self.lines[index].replace('\\', '/')
        stem = _stem(path)
        if are_numbers(path.split()):
            self.fail(
                index,
                f'expected the path of an image, found {_shorten(path)} '
                '(more rows than the count above says?)',
            )
        if '\0' in path:
            self.fail(index, f'{_shorten(path)} has a NUL character, no path has one')
        if stem == path:
            self.fail(
                index,
                'expected the path of an image, event/name.jpg, '
                f'found {_shorten(path)}',
            )
        if (first := self.seen.setdefault(stem, index + 1)) <= index:
            self.fail(index, f'{path}: line {first} has an image of that name already')
        return path

    def count(self, index: int, path: str) -> int:
        if index >= len(self.lines):
            self.fail(index - 1, f'the file ends before the number of faces of {path}')
        word = self.lines[index]
        if not _is_int(word) or int(word) < 0:
            self.fail(
                index, f'expected the number of faces of {path}, found {_shorten(word)}'
            )
        return int(word)

    def row(self, index: int, path: str) -> list[int]:
        words = self.lines[index].split()
        if len(words) != len(FACE_FIELDS):
            self.fail(
                index,
                f'expected a face of {path} in {len(FACE_FIELDS)} columns, found '
                f'{len(words)}: {_shorten(self.lines[index])}',
            )
        for word in words:
            if not _is_int(word):
                self.fail(index, f'{_shorten(word)} is not an integer')
        row = list(map(int, words))
        if min(row) < _INT32.min or max(row) > _INT32.max:
            self.fail(index, f'a number does not fit 32 bits: {" ".join(words)}')
        return row
