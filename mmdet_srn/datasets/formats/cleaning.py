"""Labelled images made fit for training: files, EXIF rotations, classes, boxes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

import numpy as np

from ..exif import displayed, stored_size, turn_boxes, turn_points
from ..wider_face_txt_reader import AnnotationError
from .labelled_image import Face, LabelledImage, find_image

#: Why images or faces are left out.
REASONS = {
    'missing': 'images that are not there',
    'broken': 'images that cannot be read',
    'class': 'faces of another class',
    'empty': 'faces without width or height',
    'outside': 'faces outside their image',
}
BoxesAre = Literal['upright', 'unturned']


class _Located(NamedTuple):
    image: LabelledImage
    path: str
    stored: tuple[int, int]
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        return displayed(self.stored, self.orientation)


def clean(
    images: Sequence[LabelledImage],
    folder: Path,
    classes: Sequence[str] = (),
    boxes_are: BoxesAre | None = None,
    corners: bool = False,
) -> tuple[list[LabelledImage], dict[str, list[str]]]:
    """Give faces in pixels of images as displayed; leave out what cannot be used.

    Args:
        images: As a format's reader returns them.
        folder: Of the images.
        classes: Labels to keep. Defaults to the only one, if there is any.
        boxes_are: Whether boxes are of images as displayed ('upright') or as stored,
            before the rotation that an EXIF tag asks for. Defaults to what the
            annotated sizes tell.
        corners: Whether the user says that boxes are corners; else those that look like
            corners read as sizes are an error.

    Returns:
        The images with their displayed sizes, and what is left out by the keys of
        :data:`REASONS`.

    Raises:
        AnnotationError: If no image is there or one is listed more than once, if
            classes have to be chosen, if boxes of turned images could be either, or if
            boxes look like parts of the image or like corners that were read as sizes.
    """
    classes = classes or [_only_class(images)]
    left_out: dict[str, list[str]] = {reason: [] for reason in REASONS}
    located = list(_locate(images, folder, left_out))
    if not located:
        raise AnnotationError(
            f'none of {len(images)} images can be read in {folder}, such as '
            f'{images[0].path if images else ""}: name their folder with --images'
        )
    _refuse_repeated(located)
    _refuse_other_sizes(located)
    unturned = _find_unturned(located, boxes_are)
    boxes = [
        _boxes_in_pixels(found, turn)
        for found, turn in zip(located, unturned, strict=True)
    ]
    _refuse_normalised(located, boxes)
    if not corners:
        _refuse_corners(located, boxes)
    kept = []
    for found, own, turn in zip(located, boxes, unturned, strict=True):
        faces = []
        for face, box in zip(found.image.faces, own, strict=True):
            if face.label not in classes:
                left_out['class'].append(f'{face.place} ({face.label})')
            elif (box[2:] <= box[:2]).any():
                left_out['empty'].append(face.place)
            elif (box[:2] >= found.size).any() or (box[2:] <= 0).any():
                left_out['outside'].append(face.place)
            else:
                points = _keypoints_in_pixels(face, found, turn)
                face = face._replace(box=tuple(box.tolist()), keypoints=points)
                faces.append(face)
        kept.append(LabelledImage(found.path, faces, found.size))
    return kept, left_out


def _only_class(images: Sequence[LabelledImage]) -> str:
    counts = Counter(face.label for image in images for face in image.faces)
    if len(counts) > 1:
        there = ', '.join(f'{name!r} ({n})' for name, n in counts.most_common())
        raise AnnotationError(
            f'choose what is a face with --classes, there are: {there}'
        )
    return next(iter(counts), 'face')  # of negatives alone


def _locate(
    images: Sequence[LabelledImage], folder: Path, left_out: dict[str, list[str]]
) -> Iterator[_Located]:
    for image in images:
        path = _find(folder, image.path)
        if path is None:
            left_out['missing'].append(image.path)
            continue
        try:
            size, orientation = stored_size(path)
        except Exception as error:  # Pillow raises all sorts on broken files
            left_out['broken'].append(f'{path}: {error}')
        else:
            name = path.relative_to(folder).as_posix()
            yield _Located(image, name, size, orientation)


def _find(folder: Path, name: str) -> Path | None:
    # Datumaro writes that folder, whether it saves the images or not.
    names = [name, name.removeprefix('no_label/')]
    if PureWindowsPath(name).root:  # of another machine, perhaps: its ends count
        parts = name.split('/')
        names = ['/'.join(parts[n:]) for n in range(1, len(parts))]
    for path in (folder / each for each in names if each):
        found = path if path.is_file() else find_image(path)
        if found:
            return found
    return None


def _refuse_repeated(located: Sequence[_Located]) -> None:
    """Raise an error where an image is listed again, perhaps with other faces."""
    counts = Counter(found.path for found in located)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        first = [found.image.faces[:1] for found in located if found.path == twice[0]]
        places = ' and '.join([face.place for faces in first for face in faces][:2])
        raise AnnotationError(
            f'{len(twice)} images are listed more than once, such as {twice[0]} '
            f'(faces: {places or "none"}): list each once, with all its faces'
        )


def _refuse_other_sizes(located: Sequence[_Located]) -> None:
    """Raise an error where an image has another size than it was annotated with."""
    other = [
        found
        for found in located
        if found.image.size and found.image.size not in (found.size, found.stored)
    ]
    if other:
        (width, height), said = other[0].size, other[0].image.size
        raise AnnotationError(
            f'{len(other)} images have another size than when they were annotated, '
            f'such as {other[0].path}: {width}x{height}, not {said[0]}x{said[1]}'
        )


def _refuse_normalised(
    located: Sequence[_Located], boxes: Sequence[np.ndarray]
) -> None:
    """Raise an error where no number is a pixel's, though the format has pixels."""
    pairs = zip(located, boxes, strict=True)
    in_pixels = [own for found, own in pairs if len(own) and not found.image.normalised]
    if in_pixels and max(np.abs(own).max() for own in in_pixels) <= 1:
        raise AnnotationError(
            f'no number of a box is above 1, as in that of {located[0].path}: they '
            'look like parts of the image, pixels are expected'
        )


def _refuse_corners(located: Sequence[_Located], boxes: Sequence[np.ndarray]) -> None:
    """Raise an error where boxes look like corners that were read as sizes."""
    sizes = np.repeat([found.size for found in located], list(map(len, boxes)), axis=0)
    if look_like_corners(np.concatenate(boxes), sizes):
        raise AnnotationError(
            f'boxes such as that of {located[0].path} leave their image, and none '
            'would if the numbers were x1 y1 x2 y2, not x y w h: give --corners'
        )


def _find_unturned(
    located: Sequence[_Located], boxes_are: BoxesAre | None
) -> list[bool]:
    """Tell for each image whether its boxes want the rotation that its tag asks for."""
    turned, unclear = [], []
    for found in located:
        turn = found.orientation != 1 and boxes_are == 'unturned'
        if found.orientation != 1 and boxes_are is None and found.image.faces:
            sizes = {found.size: False, found.stored: True}
            turn = sizes.get(found.image.size)
            if len(sizes) == 1 or turn is None:
                unclear.append(found.path)
        turned.append(bool(turn))
    if unclear:
        raise AnnotationError(
            f'an EXIF tag turns {len(unclear)} images, such as {unclear[0]}: are their '
            'boxes of the image as displayed (give --boxes-are upright) or as stored '
            '(--boxes-are unturned)?'
        )
    return turned


def _boxes_in_pixels(found: _Located, turn: bool) -> np.ndarray:
    """Boxes (N, 4) of the image as displayed."""
    boxes = np.array([face.box for face in found.image.faces], float).reshape(-1, 4)
    if found.image.normalised:
        boxes *= np.tile(found.stored if turn else found.size, 2)
    return turn_boxes(boxes, found.stored, found.orientation) if turn else boxes


def _keypoints_in_pixels(face: Face, found: _Located, turn: bool) -> tuple[float, ...]:
    """Keypoints in the image as displayed; those that are not known stay 0, 0."""
    if not face.keypoints:
        return ()
    points = np.array(face.keypoints, float).reshape(-1, 3)
    known = points[:, 2] > 0
    if found.image.normalised:
        points[known, :2] *= found.stored if turn else found.size
    if turn:
        points[known, :2] = turn_points(
            points[known, :2], found.stored, found.orientation
        )
    return tuple(points.ravel().tolist())


def look_like_corners(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes seem to be x1 y1 x2 y2 that were read as x y w h.

    Args:
        boxes: (N, 4), xyxy as read.
        sizes: (N, 2), width and height of each box's image.
    """
    beyond = (boxes[:, 2:] > sizes).any(axis=1)
    ends = boxes[:, 2:] - boxes[:, :2]  # x2 y2, if they are corners
    would_fit = (ends > boxes[:, :2]) & (ends <= sizes)
    return bool(would_fit.all() and beyond.sum() > len(boxes) / 4)
