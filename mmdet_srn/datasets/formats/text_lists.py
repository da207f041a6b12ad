"""Text files that list the images of a data set with their faces.

Datumaro's (and so CVAT's) "WIDER Face", RetinaFace's label.txt, and one line an image.
WIDER FACE's own text has the strict reader in ``wider_face_txt_reader``.
"""

from collections.abc import Iterator
from pathlib import Path

from ..wider_face_txt_reader import AnnotationError, parse_wider_face_txt
from .labelled_image import Face, LabelledImage, to_numbers


def read_lines(path: Path) -> list[str]:
    """Read a text file's lines, stripped, without empty ones at the end."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise AnnotationError(f'{path}: not UTF-8: {error}') from error
    return [line.strip() for line in text.rstrip().split('\n')]


def read_wider_face(path: Path, corners: bool) -> list[LabelledImage]:
    """Read WIDER FACE's own text; with ``corners``, x1 y1 x2 y2 in place of x y w h."""
    text = path.read_bytes().replace(b'\\', b'/')
    images = []
    for record in parse_wider_face_txt(text, str(path)):
        faces = [
            _face(row[:4], f'{path}:{record.line + 2 + n}', corners, ignored=row[7] > 0)
            for n, row in enumerate(record.faces.tolist())
        ]
        images.append(LabelledImage(record.path, faces))
    return images


def read_datumaro(path: Path, corners: bool) -> list[LabelledImage]:
    """Read Datumaro's dialect of WIDER FACE's text.

    Its numbers are floats. After x y w h a row has nothing, a label, or blur,
    expression, illumination, occluded, pose and invalid ('-' where there is none),
    with or without a label. A number of faces of 0 may be missing. A folder
    ``no_label`` may stand before a path.
    """
    lines = read_lines(path)
    images, index = [], 0
    while index < len(lines):
        image = LabelledImage(_slashes(lines[index]), [])
        number = index + 1 < len(lines) and lines[index + 1].isdecimal()
        index += 1
        if number:
            last = index + int(lines[index])
            if last >= len(lines):
                raise AnnotationError(f'{path}: ends amid the faces of {image.path}')
            for n in range(index + 1, last + 1):
                image.faces.append(_datumaro_face(lines[n], f'{path}:{n + 1}', corners))
            index = last + 1
        images.append(image)
    return images


def _datumaro_face(line: str, place: str, corners: bool) -> Face:
    words = line.split()
    if len(words) not in (4, 5, 10, 11):
        raise AnnotationError(
            f'{place}: expected 4 or 10 columns, and perhaps a label, found {line!r}'
        )
    label = words[-1] if len(words) % 5 < 2 and len(words) in (5, 11) else 'face'
    ignored = len(words) >= 10 and words[9] in ('1', 'True')
    return _face(to_numbers(words[:4], place), place, corners, label, ignored)


def read_retinaface(path: Path, corners: bool) -> list[LabelledImage]:
    """Read RetinaFace's label.txt: ``# path``, then rows of x y w h and landmarks."""
    images: list[LabelledImage] = []
    for n, line in enumerate(read_lines(path), 1):
        if line.startswith('#'):
            images.append(LabelledImage(_slashes(line[1:].strip()), []))
        elif line:
            place, words = f'{path}:{n}', line.split()
            if len(words) not in (4, 19, 20):
                raise AnnotationError(
                    f'{place}: expected x y w h, with 15 or 16 numbers of landmarks or '
                    f'none, found {len(words)} columns'
                )
            face = _face(to_numbers(words, place)[:4], place, corners)
            images[-1].faces.append(face)
    return images


def read_one_line_each(path: Path, corners: bool) -> list[LabelledImage]:
    """Read ``path x1 y1 x2 y2 x1 y1 ...``, one line an image."""
    images = []
    for n, line in enumerate(read_lines(path), 1):
        place, words = f'{path}:{n}', line.split()
        if not words:
            continue
        if len(words) % 4 != 1:
            raise AnnotationError(
                f'{place}: expected a path and four numbers a face, found '
                f'{len(words)} columns'
            )
        numbers = to_numbers(words[1:], place)
        faces = [_face(four, place, corners) for four in _fours(numbers)]
        images.append(LabelledImage(_slashes(words[0]), faces))
    return images


def _fours(numbers: list[float]) -> Iterator[list[float]]:
    return (numbers[i : i + 4] for i in range(0, len(numbers), 4))


def _slashes(path: str) -> str:
    return path.replace('\\', '/')


def _face(
    four: list[float],
    place: str,
    corners: bool,
    label: str = 'face',
    ignored: bool = False,
) -> Face:
    x, y, *rest = four
    x2, y2 = rest if corners else (x + rest[0], y + rest[1])
    return Face((x, y, x2, y2), place, label, ignored)
