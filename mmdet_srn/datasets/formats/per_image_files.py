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

    files = sorted((*root.glob('*.yaml'), *root.glob('*.yml')))
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise AnnotationError(f'{path}: {error}') from error
        names = content.get('names') if isinstance(content, dict) else None
        if isinstance(names, list):
            return dict(enumerate(map(str, names)))
        if isinstance(names, dict):
            return {int(number): str(name) for number, name in names.items()}
    return {0: 'face'}


def _yolo_faces(text: Path, names: dict[int, str]) -> Iterator[Face]:
    for n, line in enumerate(text.read_text(encoding='utf-8').splitlines(), 1):
        place = f'{text}:{n}'
        words = line.split()
        if not words:
            continue
        number, *values = to_numbers(words, place)
        if number not in names:
            raise AnnotationError(
                f'{place}: class {number:g} is not in data.yaml: {names}'
            )
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


def read_voc(root: Path) -> list[LabelledImage]:
    """Read Pascal VOC's XML, one file an image; ``difficult`` objects are ignored.

    The image is ``filename`` beside the XML or in ``JPEGImages``, else the one with
    the XML's own name.
    """
    return [_voc_image(path, root) for path in _files(root, '.xml')]


def _voc_image(path: Path, root: Path) -> LabelledImage:
    try:
        tree = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise AnnotationError(f'{path}: {error}') from error

    def text(entry: ElementTree.Element, name: str) -> str:
        found = entry.findtext(name)
        if not found:
            raise AnnotationError(f'{path}: <{entry.tag}> has no {name}')
        return found.strip()

    faces = []
    for n, entry in enumerate(tree.iter('object'), 1):
        place = f'{path}, object {n}'
        words = [text(entry, f'bndbox/{key}') for key in ('xmin', 'ymin')]
        words += [text(entry, f'bndbox/{key}') for key in ('xmax', 'ymax')]
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
    return [_labelme_image(path, root) for path in _files(root, '.json')]


def _labelme_image(path: Path, root: Path) -> LabelledImage:
    try:
        content: Any = json.loads(path.read_bytes())
        faces = []
        for n, shape in enumerate(content['shapes'], 1):
            points = [str(value) for point in shape['points'] for value in point]
            numbers = to_numbers(points, f'{path}, shape {n}')
            if shape.get('shape_type') == 'circle':  # its centre and a point on it
                x, y, radius = *numbers[:2], math.dist(numbers[:2], numbers[2:])
                numbers = [x - radius, y - radius, x + radius, y + radius]
            face = Face(around(numbers), f'{path}, shape {n}', str(shape['label']))
            faces.append(face)
        width, height = content.get('imageWidth'), content.get('imageHeight')
        size = (int(width), int(height)) if width and height else None
        name = content.get('imagePath')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(
            f"{path}: not LabelMe's JSON ({type(error).__name__}: {error})"
        ) from error
    return LabelledImage(_beside(path, name, root), faces, size)


def _files(root: Path, suffix: str) -> list[Path]:
    return [root] if root.is_file() else sorted(root.rglob(f'*{suffix}'))


def _beside(path: Path, name: str | None, root: Path) -> str:
    """Find an annotation file's image, below ``root``."""
    below = root.parent if root.is_file() else root
    name = (name or '').strip().replace('\\', '/').rpartition('/')[2]
    for folder in ('.', '../JPEGImages', '../images') if name else ():
        found = Path(os.path.normpath(path.parent / folder / name))
        if found.is_file() and found.is_relative_to(below):
            return found.relative_to(below).as_posix()
    image = find_image(path.with_suffix('')) or path.with_name(name or path.stem)
    return image.relative_to(below).as_posix()
