"""Formats with one file an image: YOLO, Pascal VOC, LabelMe."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..wider_face_txt_reader import AnnotationError, are_numbers
from .class_names import class_name, read_class_names
from .labelled_image import (
    IMAGE_SUFFIXES,
    Face,
    LabelledImage,
    around,
    find_image,
    read_lines,
    to_keypoints,
    to_numbers,
)


def read_yolo(root: Path) -> list[LabelledImage]:
    """Read YOLO's rows ``class x y w h`` or ``class x y x y x y ...``, normalised.

    ``labels/a/b.txt`` belongs to ``images/a/b.jpg``, and a text beside an image, or in
    a folder ``labels`` there, to that. An image without a text has no face. A text
    with rows but no image is listed after the others, as an image of its own name. For
    the names of classes see :func:`read_class_names`.
    """
    names = read_class_names(root)
    texts = {path.relative_to(root) for path in _files(root, '.txt')}
    owners: dict[Path, Path | None] = {}  # image below root -> its text
    for path in _files(root, *IMAGE_SUFFIXES):
        below = path.relative_to(root)
        places = _places_of_text(below)
        owners[below] = next((place for place in places if place in texts), None)
    for text in sorted(texts - set(owners.values())):
        if has_rows(root / text):
            owners[text.with_suffix('')] = text
    return [
        LabelledImage(
            image.as_posix(),
            list(_yolo_faces(root / text, names)) if text else [],
            normalised=True,
        )
        for image, text in owners.items()
    ]


def _places_of_text(image: Path) -> Iterator[Path]:
    *folders, name = image.with_suffix('.txt').parts
    if 'images' in folders:
        at = len(folders) - 1 - folders[::-1].index('images')
        yield Path(*folders[:at], 'labels', *folders[at + 1 :], name)
    yield Path(*folders, name)
    yield Path(*folders, 'labels', name)


def has_rows(text: Path) -> bool:
    """Tell a text with faces from lists of files, names of classes and the like."""
    words = next((line.split() for line in read_lines(text) if line), [])
    return len(words) > 4 and are_numbers(words)


def _yolo_faces(text: Path, names: dict[int, str]) -> Iterator[Face]:
    for n, line in enumerate(read_lines(text), 1):
        place = f'{text}:{n}'
        words = line.split()
        if not words:
            continue
        number, *values = to_numbers(words, place)
        label, keypoints = class_name(number, names, place), ()
        if _has_landmarks(values):
            values, points = values[:4], values[4:]
            step = len(points) // 5
            seen = points[2::3] if step == 3 else [2.0] * 5
            triples = zip(points[::step], points[1::step], seen, strict=True)
            keypoints = to_keypoints(triples)
        if max(map(abs, values), default=0) > 2:
            raise AnnotationError(
                f'{place}: YOLO has numbers from 0 to 1, these look like pixels: {line}'
            )
        if len(values) in (4, 5):  # the fifth is a confidence
            x, y, w, h = values[:4]
            values = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        elif len(values) < 6 or len(values) % 2:
            raise AnnotationError(
                f'{place}: expected a class with x y w h or with the points of a '
                f'polygon, found {len(words)} columns'
            )
        yield Face(around(values), place, label, keypoints=keypoints)


def _has_landmarks(values: list[float]) -> bool:
    """Whether x y w h and five points follow (yolov5-face), not a polygon."""
    if len(values) == 19:  # each point with its visibility
        return True
    if len(values) != 14:
        return False
    x, y, w, h, *points = values
    inside = [
        abs(px - x) <= w and abs(py - y) <= h
        for px, py in zip(points[::2], points[1::2], strict=True)
    ]
    return all(inside) or min(points) < 0


def read_voc(root: Path) -> list[LabelledImage]:
    """Read Pascal VOC's XML, one file an image; ``difficult`` objects are ignored.

    The image has the XML's own name, else ``filename``, and lies beside it or in a
    folder ``JPEGImages``, ``images`` or what ``folder`` says, in place of the XML's
    folder. Numbers are taken as they are: VOC's own count pixels from 1, but
    what people export counts from 0 (CVAT writes x and x + w; LabelImg does, too, and
    makes a 1 of a 0).
    """
    return [_voc_image(path, root) for path in _files(root, '.xml')]


def _voc_image(path: Path, root: Path) -> LabelledImage:
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise AnnotationError(f'{path}: {error}') from error
    if tree.tag != 'annotation':
        raise AnnotationError(
            f'{path} has <{tree.tag}>, not <annotation>: it is not Pascal VOC (CVAT '
            'exports that as well)'
        )

    def text(entry: ElementTree.Element, name: str) -> str:
        found = entry.findtext(name)
        if not found:
            raise AnnotationError(f'{path}: <{entry.tag}> has no {name}')
        return found.strip()

    faces = []
    for n, entry in enumerate(tree.iter('object'), 1):
        place = f'{path}, object {n}'
        keys = ('xmin', 'ymin', 'xmax', 'ymax')
        words = [text(entry, f'bndbox/{key}') for key in keys]
        x1, y1, x2, y2 = to_numbers(words, place)
        ignored = entry.findtext('difficult', '0').strip() == '1'
        faces.append(Face((x1, y1, x2, y2), place, text(entry, 'name'), ignored))
    words = [tree.findtext(f'size/{key}', '').strip() for key in ('width', 'height')]
    width, height = to_numbers([word or '0' for word in words], str(path))
    size = (int(width), int(height)) if width and height else None  # or not known
    name = tree.findtext('filename', '')
    folder = tree.findtext('folder', '').strip().replace('\\', '/').rpartition('/')[2]
    return LabelledImage(_find_image(path, name, root, folder), faces, size)


def read_labelme(root: Path) -> list[LabelledImage]:
    """Read LabelMe's JSON, one file an image: the box around each shape's points.

    The image is found as Pascal VOC's is, by ``imagePath`` and the folder in it.
    """
    files = _files(root, '.json')
    if root.is_dir():  # beside what other tools left
        files = [path for path in files if b'"shapes"' in path.read_bytes()]
    return [_labelme_image(path, root) for path in files]


def _labelme_image(path: Path, root: Path) -> LabelledImage:
    try:
        content: Any = json.loads(path.read_bytes())
        faces = []
        for n, shape in enumerate(content['shapes'], 1):
            points = [str(value) for x, y in shape['points'] for value in (x, y)]
            numbers = to_numbers(points, f'{path}, shape {n}')
            if shape.get('shape_type') == 'circle':  # its centre and a point on it
                x, y, radius = *numbers[:2], math.dist(numbers[:2], numbers[2:])
                numbers = [x - radius, y - radius, x + radius, y + radius]
            face = Face(around(numbers), f'{path}, shape {n}', str(shape['label']))
            faces.append(face)
        width, height = content.get('imageWidth'), content.get('imageHeight')
        size = (int(width), int(height)) if width and height else None
        name = str(content.get('imagePath') or '')
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(
            f"{path}: not LabelMe's JSON ({type(error).__name__}: {error})"
        ) from error
    return LabelledImage(_find_image(path, name, root), faces, size)


def _files(root: Path, *suffixes: str) -> list[Path]:
    if root.is_file():
        return [root]
    return [
        path
        for path in sorted(root.rglob('*'))
        # ._name is macOS's, beside each file of an archive
        if path.suffix.lower() in suffixes and not path.name.startswith('._')
    ]


def _find_image(path: Path, name: str, root: Path, folder: str = '') -> str:
    """Find an annotation file's image below ``root``: of its own name or ``name``."""
    below = root.parent if root.is_file() else root
    name = name.strip().replace('\\', '/') or path.stem
    above, _, base = name.rpartition('/')
    folders = (folder or above.rpartition('/')[2], 'JPEGImages', 'images')
    places = list(_image_folders(path, below, folders))
    as_said = Path(os.path.normpath(path.parent / name))
    candidates = (
        *(find_image(path.with_suffix('')), as_said),
        *(find_image(place / path.stem) for place in places),
        *(place / base for place in places),
    )
    for found in candidates:
        if found and found.is_file() and found.is_relative_to(below):
            return found.relative_to(below).as_posix()
    return path.with_name(base).relative_to(below).as_posix()


def _image_folders(path: Path, below: Path, names: Sequence[str]) -> Iterator[Path]:
    """List a file's folder and others, below it and in place of one of its own."""
    names = [name for name in names if name not in ('', '.', '..')]
    yield path.parent
    yield from (path.parent / name for name in names)
    for above in path.parents:
        if above == below:
            return
        rest = path.parent.relative_to(above)
        yield from (above.parent / name / rest for name in names)
