"""Formats with one file an image: YOLO, Pascal VOC, LabelMe."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..wider_face_txt_reader import AnnotationError
from .labelled_image import (
    IMAGE_SUFFIXES,
    Face,
    LabelledImage,
    around,
    find_image,
    to_numbers,
)
from .text_lists import read_lines


def read_yolo(root: Path) -> list[LabelledImage]:
    """Read YOLO's rows ``class x y w h`` or ``class x y x y x y ...``, normalised.

    ``labels/a/b.txt`` belongs to ``images/a/b.jpg``, and a text beside an image to
    that. An image without a text has no face. Names of the classes are in a
    ``data.yaml``; without one, class 0 is ``face``.
    """
    names = _yolo_names(root)
    images = []
    for path in sorted(root.rglob('*')):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        text = path.with_suffix('.txt')
        if 'images' in path.relative_to(root).parts[:-1]:
            parts = list(path.relative_to(root).parts)
            at = len(parts) - 2 - parts[-2::-1].index('images')
            text = root.joinpath(*parts[:at], 'labels', *parts[at + 1 :])
            text = text.with_suffix('.txt')
        faces = list(_yolo_faces(text, names)) if text.is_file() else []
        name = path.relative_to(root).as_posix()
        images.append(LabelledImage(name, faces, normalised=True))
    return images


def _yolo_names(root: Path) -> dict[int, str]:
    import yaml  # mmengine's

    # Roboflow's is beside the folders of train and valid.
    files = [*sorted(root.glob('*.y*ml')), *root.parent.glob('data.y*ml')]
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise AnnotationError(f'{path}: {error}') from error
        names = content.get('names') if isinstance(content, dict) else None
        if isinstance(names, list):
            return dict(enumerate(map(str, names)))
        if isinstance(names, dict):
            try:
                return {int(number): str(name) for number, name in names.items()}
            except (ValueError, TypeError) as error:
                raise AnnotationError(f'{path}: names: {error}') from error
    for path in (root / 'classes.txt', *sorted(root.glob('*.names'))):
        if path.is_file():
            return dict(enumerate(name for name in read_lines(path) if name))
    return {0: 'face'}


def _yolo_faces(text: Path, names: dict[int, str]) -> Iterator[Face]:
    for n, line in enumerate(read_lines(text), 1):
        place = f'{text}:{n}'
        words = line.split()
        if not words:
            continue
        number, *values = to_numbers(words, place)
        if number not in names:
            raise AnnotationError(
                f'{place}: class {number:g} is not among the names {names}'
            )
        if _has_landmarks(values):
            values = values[:4]
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
        yield Face(around(values), place, names[int(number)])


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

    The image is the one with the XML's own name beside it, else ``filename``, there or
    in ``JPEGImages``. Numbers are taken as they are, also of tools that count from 1.
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
    size = tree.find('size')
    pair = None
    if size is not None:
        width, height = to_numbers(
            [text(size, 'width'), text(size, 'height')], str(path)
        )
        pair = (int(width), int(height)) if width and height else None
    return LabelledImage(_beside(path, tree.findtext('filename'), root), faces, pair)


def read_labelme(root: Path) -> list[LabelledImage]:
    """Read LabelMe's JSON, one file an image: the box around each shape's points."""
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
    return LabelledImage(_beside(path, name, root), faces, size)


def _files(root: Path, suffix: str) -> list[Path]:
    if root.is_file():
        return [root]
    return [
        path
        for path in sorted(root.rglob('*'))
        # ._name is macOS's, beside each file of an archive
        if path.suffix.lower() == suffix and not path.name.startswith('._')
    ]


def _beside(path: Path, name: str | None, root: Path) -> str:
    """Find an annotation file's image, below ``root``."""
    below = root.parent if root.is_file() else root
    if image := find_image(path.with_suffix('')):
        return image.relative_to(below).as_posix()
    name = (name or '').strip().replace('\\', '/') or path.stem
    base = name.rpartition('/')[2]
    for place in (name, f'../JPEGImages/{base}', f'../images/{base}', base):
        found = Path(os.path.normpath(path.parent / place))
        if found.is_file() and found.is_relative_to(below):
            return found.relative_to(below).as_posix()
    return path.with_name(base).relative_to(below).as_posix()
