"""What every format is read to, and what all readers share."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..wider_face_txt_reader import AnnotationError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')


class Face(NamedTuple):
    """A labelled box.

    Attributes:
        box: x1, y1, x2, y2, as annotated.
        place: File and line, or the like, for messages.
        label: Its class.
        ignored: Whether it counts neither as a face nor as background.
        keypoints: x, y and COCO's visibility (0 none, 1 hidden, 2 seen) of each of its
            landmarks; empty where there are none.
    """

    box: tuple[float, float, float, float]
    place: str
    label: str = 'face'
    ignored: bool = False
    keypoints: tuple[float, ...] = ()


class LabelledImage(NamedTuple):
    """An image of an annotation.

    Attributes:
        path: Its file below the images' folder, with forward slashes.
        faces: Its faces.
        size: Width and height as annotated; None where the format has none.
        normalised: Whether boxes are in parts of width and height, not in pixels.
    """

    path: str
    faces: list[Face]
    size: tuple[int, int] | None = None
    normalised: bool = False


def find_image(stem: Path) -> Path | None:
    """Find the image of a name without suffix."""
    for suffix in IMAGE_SUFFIXES:
        for name in (suffix, suffix.upper()):
            if (path := stem.with_name(stem.name + name)).is_file():
                return path
    return None


def read_lines(path: Path) -> list[str]:
    """Read a text file's lines, stripped, without empty ones at the end."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise AnnotationError(f'{path}: not UTF-8: {error}') from error
    return [line.strip() for line in text.rstrip().split('\n')]


def to_numbers(words: list[str], place: str) -> list[float]:
    """Read finite numbers.

    Raises:
        AnnotationError: If one is none.
    """
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise AnnotationError(f'{place}: {error}') from error
    if not np.isfinite(numbers).all():
        raise AnnotationError(f'{place}: {" ".join(words)[:60]} is not finite')
    return numbers


def to_keypoints(points: Iterable[tuple[float, float, float]]) -> tuple[float, ...]:
    """Make ``keypoints`` of x, y, visibility; x = y = -1 is a point that is not known.

    All of them unknown are none.
    """
    known = [(0, 0, 0) if (x, y) == (-1, -1) else (x, y, v) for x, y, v in points]
    return sum(known, ()) if any(v for _, _, v in known) else ()


def around(points: list[float]) -> tuple[float, float, float, float]:
    """Return the box around points x, y, x, y, ..."""
    x, y = points[::2], points[1::2]
    return min(x), min(y), max(x), max(y)
