"""Text files that list the images of a data set with their faces.

Datumaro's (and so CVAT's) "WIDER Face", RetinaFace's label.txt, and one line an image.
WIDER FACE's own text has the strict reader in ``wider_face_txt_reader``.
"""

from pathlib import Path

from ..wider_face_txt_reader import AnnotationError, read_wider_face_txt
from .class_names import class_name, read_class_names
from .labelled_image import Face, LabelledImage, read_lines, to_keypoints, to_numbers


def read_wider_face(path: Path, corners: bool) -> list[LabelledImage]:
    """Read WIDER FACE's own text; with ``corners``, x1 y1 x2 y2 in place of x y w h."""
    images = []
    for record in read_wider_face_txt(path):
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
    """Read RetinaFace's label.txt: ``# path``, then rows of x y w h and landmarks.

    Each of five landmarks is x, y and 0 (seen), 1 (hidden) or -1 (none).
    """
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
            numbers = to_numbers(words, place)
            x, y, hidden = (numbers[first:19:3] for first in (4, 5, 6))
            points = zip(x, y, (2 - value for value in hidden), strict=True)
            face = _face(numbers[:4], place, corners)
            images[-1].faces.append(face._replace(keypoints=to_keypoints(points)))
    return images


def read_one_line_each(path: Path, corners: bool) -> list[LabelledImage]:
    """Read ``path x1 y1 x2 y2 x1 y1 ...``, one line an image.

    Or, as keras-yolo3 has it, ``path x1,y1,x2,y2,class x1,y1,...``. Lines of one path,
    as of one line a face, are of one image.
    """
    names = read_class_names(path.parent)
    images: dict[str, LabelledImage] = {}
    for n, line in enumerate(read_lines(path), 1):
        place, words = f'{path}:{n}', line.split()
        if not words:
            continue
        name, *rest = words
        if any(',' in word for word in rest):
            rows, columns = [word.split(',') for word in rest], 5
        else:
            rows, columns = [rest[i : i + 4] for i in range(0, len(rest), 4)], 4
        if any(len(row) != columns for row in rows):
            raise AnnotationError(
                f'{place}: expected a path and {columns} numbers a face, found '
                f'{line[:60]!r}'
            )
        name = _slashes(name)
        image = images.setdefault(name, LabelledImage(name, []))
        for row in rows:
            numbers = to_numbers(row, place)
            label = class_name(numbers[4], names, place) if columns == 5 else 'face'
            image.faces.append(_face(numbers[:4], place, corners, label))
    return list(images.values())


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
