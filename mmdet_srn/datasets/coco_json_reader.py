"""Reader of faces annotated in COCO's JSON; needs only the standard library."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from .wider_face_txt_reader import AnnotationError

#: Why a face is left out. All but the first are reasons of mmdet's CocoDataset, which
#: leaves faces out silently.
REASONS = {
    'not_finite': 'with NaN, infinite or absurd numbers',
    'image': 'of an image that is not listed',
    'category': 'of another category',
    'ignore': "with 'ignore' set",
    'outside': "outside their image's width and height (as before an EXIF rotation?)",
    'small': 'less than a pixel wide or high',
    'area': 'of area 0 or less (it is width * height, or the area of a mask)',
}
# More than any image has, and few enough digits for every type of number.
_LIMIT = 1e9


def parse_coco_json(data: bytes, source: str) -> dict[str, Any]:
    """Parse an annotation and check that nothing is missing in it.

    Args:
        data: The JSON.
        source: Name of the file for error messages.

    Returns:
        The content: lists ``images``, ``annotations`` and ``categories``; all that
        mmdet's CocoDataset reads is there and of the right type. Backslashes of
        ``file_name`` are made slashes.

    Raises:
        AnnotationError: If something is missing or malformed, or an id or a
            file_name is not unique; names file and image.
    """

    def fail(message: str) -> NoReturn:
        raise AnnotationError(f'{source}: {message}')

    def read(entry: Any, name: str, key: str, types: tuple[type, ...]) -> Any:
        if not isinstance(entry, dict):
            fail(f'{name} is not an object')
        if key not in entry:
            fail(f'{name} has no {key}')
        value = entry[key]
        if not isinstance(value, types):
            fail(f'{name}: {key} is {str(value)[:40]!r}')
        return value

    def by_id(entries: list, kind: str, key: str) -> dict:
        found: dict = {}
        for number, entry in enumerate(entries):
            name = f'{kind} {number + 1}'
            number = read(entry, name, 'id', (int, str))
            if number in found:
                names = [str(e.get(key)) for e in (found[number], entry)]
                fail(f'two {kind}s have id {number} ({key}: {" and ".join(names)})')
            found[number] = entry
        return found

    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{source}: not JSON: {error}') from error
    entries = {
        key: read(content, 'the file', key, (list,))
        for key in ('images', 'annotations', 'categories')
    }
    images = by_id(entries['images'], 'image', 'file_name')
    owners: dict = {}
    for number, image in images.items():
        path = read(image, f'image {number}', 'file_name', (str,))
        if not path or '\0' in path:
            fail(f'image {number}: file_name is {path!r}')
        path = image['file_name'] = path.replace('\\', '/')
        if (first := owners.setdefault(path, number)) != number:
            fail(f'images {first} and {number} have the same file_name, {path}')
        for key in ('width', 'height'):
            size = read(image, path, key, (int, float))
            if not 0 < size < _LIMIT:
                fail(f'{path}: {key} is {size}')
    for number, category in by_id(entries['categories'], 'category', 'name').items():
        read(category, f'category {number}', 'name', (str,))
    for number, face in by_id(entries['annotations'], 'annotation', 'bbox').items():
        owner = read(face, f'annotation {number}', 'image_id', (int, str))
        path = images[owner]['file_name'] if owner in images else 'no listed image'
        name = f'annotation {number} of {path}'
        read(face, name, 'category_id', (int, str))
        read(face, name, 'area', (int, float))
        bbox = read(face, name, 'bbox', (list,))
        if len(bbox) != 4 or not all(isinstance(v, (int, float)) for v in bbox):
            fail(f'{name}: bbox is {str(bbox)[:60]}, not x, y, w, h')
    return content


def judge_face(
    face: Mapping[str, Any], image: Mapping[str, Any] | None, categories: Collection
) -> str:
    """Tell why CocoDataset leaves a face out: a key of :data:`REASONS`, or ''.

    Args:
        face: The annotation.
        image: Its image; None if it is not listed.
        categories: Ids of the categories that are read.
    """
    x, y, w, h = face['bbox']
    if not all(abs(value) < _LIMIT for value in (x, y, w, h, face['area'])):
        return 'not_finite'
    if image is None:
        return 'image'
    if face['category_id'] not in categories:
        return 'category'
    if face.get('ignore'):
        return 'ignore'
    if w < 1 or h < 1:
        return 'small'
    inside = x < image['width'] and y < image['height'] and x + w > 0 and y + h > 0
    if not inside:
        return 'outside'
    return 'area' if face['area'] <= 0 else ''


def describe_categories(content: Mapping[str, Any]) -> str:
    """List the names of all categories, quoted."""
    return ', '.join(repr(entry['name']) for entry in content['categories']) or 'none'
