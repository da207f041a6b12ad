"""Formats with one table for all images: CSV with a header, COCO's JSON."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from ..coco_json_reader import parse_coco_json
from ..wider_face_txt_reader import AnnotationError
from .labelled_image import Face, LabelledImage, to_numbers

IMAGE_COLUMNS = ('filename', 'file_name', 'image', 'image_path', 'path', 'img')
LABEL_COLUMNS = ('class', 'label', 'name', 'category')
CORNER_COLUMNS = (
    ('xmin', 'ymin', 'xmax', 'ymax'),
    ('x1', 'y1', 'x2', 'y2'),
    ('x_min', 'y_min', 'x_max', 'y_max'),
    ('left', 'top', 'right', 'bottom'),
)
SIZE_COLUMNS = (
    ('x', 'y', 'w', 'h'),
    ('x', 'y', 'width', 'height'),
    ('left', 'top', 'width', 'height'),
)


def read_csv(path: Path) -> list[LabelledImage]:
    """Read a CSV with a header, one row a face; commas, semicolons or tabs.

    Beside corners, the columns width and height are the image's.
    """
    try:
        return _read_csv(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise AnnotationError(f'{path} is no CSV with a header ({error})') from error


def _read_csv(path: Path) -> list[LabelledImage]:
    with path.open(encoding='utf-8-sig', newline='') as file:
        dialect = csv.Sniffer().sniff(file.readline(), ',;\t')
        file.seek(0)
        reader = csv.DictReader(file, dialect=dialect)
        header = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        image_column = _column(header, [(name,) for name in IMAGE_COLUMNS], path)[0]
        box_columns = _column(header, CORNER_COLUMNS + SIZE_COLUMNS, path)
        label_column = next((name for name in LABEL_COLUMNS if name in header), None)
        sized = box_columns in CORNER_COLUMNS and {'width', 'height'} <= set(header)
        images: dict[str, LabelledImage] = {}
        for row in reader:
            place = f'{path}:{reader.line_num}'
            name = (row[image_column] or '').strip().replace('\\', '/')
            size = None
            if sized and row['width'] and row['height']:
                width, height = _values(row, ('width', 'height'), place)
                size = (int(width), int(height))
            image = images.setdefault(name, LabelledImage(name, [], size))
            if not any(row[column] for column in box_columns):
                continue  # an image without faces
            x, y, x2, y2 = _values(row, box_columns, place)
            if box_columns in SIZE_COLUMNS:
                x2, y2 = x + x2, y + y2
            label = (row[label_column] or '').strip() if label_column else 'face'
            image.faces.append(Face((x, y, x2, y2), place, label))
    return list(images.values())


def _column(
    header: Sequence[str], choices: Sequence[tuple[str, ...]], path: Path
) -> tuple[str, ...]:
    for names in choices:
        if set(names) <= set(header):
            return names
    raise AnnotationError(
        f'{path}:1: none of the columns {choices} is in the header {list(header)}'
    )


def _values(row: dict, columns: Sequence[str], place: str) -> list[float]:
    return to_numbers([row[column] or '' for column in columns], place)


def read_coco(
    path: Path, corners: bool, skip: Collection[int | str] = ()
) -> list[LabelledImage]:
    """Read COCO's JSON, or one whose bbox is x1 y1 x2 y2.

    Crowds, and faces with ``ignore`` set, are ignored. Annotations with the ids
    ``skip`` are not read.
    """
    content = parse_coco_json(path.read_bytes(), str(path))
    labels = {entry['id']: entry['name'] for entry in content['categories']}
    images = {
        entry['id']: LabelledImage(
            entry['file_name'],
            [],
            (int(entry['width']), int(entry['height'])),
        )
        for entry in content['images']
    }
    for entry in content['annotations']:
        if entry['id'] in skip:
            continue
        place = f'{path}, annotation {entry["id"]}'
        if entry['image_id'] not in images:
            raise AnnotationError(f'{place}: image {entry["image_id"]} is not listed')
        x, y, x2, y2 = to_numbers(list(map(str, entry['bbox'])), place)
        if not corners:
            x2, y2 = x + x2, y + y2
        label = labels.get(entry['category_id'], f'category {entry["category_id"]}')
        points = entry.get('keypoints') or []
        if not isinstance(points, list) or len(points) % 3:
            raise AnnotationError(f'{place}: keypoints is {str(points)[:60]}')
        keypoints = tuple(to_numbers(list(map(str, points)), place))
        ignored = bool(entry.get('iscrowd') or entry.get('ignore'))
        face = Face((x, y, x2, y2), place, label, ignored, keypoints)
        images[entry['image_id']].faces.append(face)
    return list(images.values())
