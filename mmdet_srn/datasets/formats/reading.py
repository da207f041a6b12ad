"""Which format an annotation has, and its content."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from ..wider_face_txt_reader import AnnotationError, are_numbers
from .labelled_image import LabelledImage, read_lines
from .per_image_files import has_rows, read_labelme, read_voc, read_yolo
from .tables import read_coco, read_csv
from .text_lists import (
    read_datumaro,
    read_one_line_each,
    read_retinaface,
    read_wider_face,
)

CONVERTER = 'tools/dataset_converters/convert_annotations.py'


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        title: For messages.
        read: Its reader; takes the file or folder and, unless ``corners`` is None,
            whether boxes are corners.
        corners: Whether its boxes are corners by nature; None where they cannot be
            anything but what the format says.
    """

    title: str
    read: Callable[..., list[LabelledImage]]
    corners: bool | None = None


FORMATS = {
    'wider_face': Format("WIDER FACE's text", read_wider_face, False),
    'datumaro': Format("Datumaro's or CVAT's WIDER FACE text", read_datumaro, False),
    'retinaface': Format("RetinaFace's label.txt", read_retinaface, False),
    'lines': Format('text with one line an image', read_one_line_each, True),
    'csv': Format('CSV', read_csv),
    'coco': Format("COCO's JSON", read_coco, False),
    'labelme': Format("LabelMe's JSON", read_labelme),
    'voc': Format("Pascal VOC's XML", read_voc),
    'yolo': Format("YOLO's text", read_yolo),
}


def read_annotation(
    source: Path,
    corners: bool = False,
    name: str = '',
    skip: Collection[int | str] = (),
) -> tuple[str, list[LabelledImage]]:
    """Recognise an annotation's format and read it.

    Args:
        source: The file, or the folder of a format with one file an image, or of
            Roboflow's export with a file ``_annotations`` for each part.
        corners: Whether four numbers are x1 y1 x2 y2 also where the format of a list
            or of COCO's JSON says x y w h.
        name: Its format, if that is known: a key of :data:`FORMATS`.
        skip: Ids of annotations of COCO's JSON to leave out, broken or not.

    Returns:
        A key of :data:`FORMATS`, and the images.

    Raises:
        AnnotationError: If no format is recognised, or something is malformed; names
            file and line.
        OSError: If a file cannot be read.
    """
    name = name or recognise(source)
    form = FORMATS[name]
    options = () if form.corners is None else (corners or form.corners,)
    if name == 'coco':
        options += (skip,)
    images = []
    for part in _parts(source) or [source]:
        folder = part.parent.relative_to(source) if part != source else Path()
        images += [
            image._replace(path=(folder / image.path).as_posix())
            for image in form.read(part, *options)
        ]
    return name, images


def _parts(folder: Path) -> list[Path]:
    """Find Roboflow's files, one for each of train, valid and test."""
    files = sorted(folder.rglob('_annotations.*')) if folder.is_dir() else []
    return [path for path in files if path.is_file()]


def hint(path: str | Path) -> str:
    """Say what a text is that WIDER FACE's reader refuses, and what to do; or ''."""
    try:
        name = recognise(Path(path))
    except AnnotationError as error:
        return f'. {error}'
    except OSError:  # on another machine
        return ''
    if name == 'wider_face':
        return ''
    return f'. It is {FORMATS[name].title}: convert it with {CONVERTER}'


def recognise(source: Path) -> str:
    """Tell an annotation's format: a key of :data:`FORMATS`.

    Raises:
        AnnotationError: If it is none of them.
    """
    if source.is_dir():
        return _recognise_folder(source)
    suffix = source.suffix.lower()
    if suffix == '.json':
        return _recognise_json(source)
    if suffix in ('.csv', '.tsv', '.xml'):
        return 'voc' if suffix == '.xml' else 'csv'
    return _recognise_text(source)


def _recognise_folder(folder: Path) -> str:
    if parts := {recognise(part) for part in _parts(folder)}:
        if len(parts) > 1:
            raise AnnotationError(f'{folder} holds several formats: {sorted(parts)}')
        return parts.pop()
    # ._name is macOS's, as in read_yolo
    files = [
        path
        for path in sorted(folder.rglob('*'))
        if path.is_file() and not path.name.startswith('._')
    ]
    suffixes = [path.suffix.lower() for path in files]
    if '.xml' in suffixes:
        return 'voc'
    if any(_is_labelme(path) for path in files if path.suffix.lower() == '.json'):
        return 'labelme'
    if any(has_rows(path) for path in files if path.suffix.lower() == '.txt'):
        return 'yolo'
    message = f'{folder} holds no annotation with a file for each image'
    tables = [p for p in files if p.suffix.lower() in ('.txt', '.json', '.csv')]
    if tables:
        message += (
            f': name the file itself, such as {tables[0]}, and its images with --images'
        )
    raise AnnotationError(message)


def _is_labelme(path: Path) -> bool:
    try:
        return _recognise_json(path) == 'labelme'
    except AnnotationError:
        return False


def _recognise_json(path: Path) -> str:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{path}: not JSON: {error}') from error
    keys = content if isinstance(content, dict) else {}
    if 'shapes' in keys:
        return 'labelme'
    if 'images' in keys:
        return 'coco'
    raise AnnotationError(f"{path}: neither COCO's JSON nor LabelMe's")


def _recognise_text(path: Path) -> str:
    lines = [line for line in read_lines(path) if line][:1000]
    if not lines:
        raise AnnotationError(f'{path} is empty')
    if lines[0].startswith('#'):
        return 'retinaface'
    rows = [line.split() for line in lines]
    if all(are_numbers(row) for row in rows):
        message = f'{path} names no image'
        if all(len(row) == 5 for row in rows):
            message += ": YOLO's rows belong in one text for each image, named like it"
        raise AnnotationError(message)
    # One with a broken row is for the strict readers to complain about.
    named = [row for row in rows if len(row) > 1 and not are_numbers(row[:1])]
    spaces = [len(row) > 4 and are_numbers(row[1:]) for row in named]
    commas = [all(map(_is_five, row[1:])) for row in named]
    if max(sum(spaces), sum(commas)) > len(named) / 2:
        return 'lines'
    if len(lines[0].split(',')) > 4:
        return 'csv'
    faces = [row for row in rows if len(row) >= 4 and are_numbers(row[:4])]
    if not faces and ['0'] in rows:  # scenes without faces
        return 'wider_face'
    if not faces:
        raise AnnotationError(f'{path} has no row of a face, perhaps it lists files')
    official = [len(row) == 10 and _are_integers(row) for row in faces]
    return 'wider_face' if sum(official) > len(faces) / 2 else 'datumaro'


def _is_five(word: str) -> bool:
    """Whether it is keras-yolo3's x1,y1,x2,y2,class."""
    five = word.split(',')
    return len(five) == 5 and are_numbers(five)


def _are_integers(words: list[str]) -> bool:
    return all(word.removeprefix('-').isdecimal() for word in words)
