"""Boxes of images that an EXIF tag turns or mirrors."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ..checks import TURNED_FORMATS

#: By EXIF orientation: whether x and y change places, then whether x, y are mirrored.
_STEPS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """Read an image's width and height as stored, and the orientation OpenCV applies.

    Raises:
        OSError: If it is no image; Pillow raises other errors as well.
    """
    with Image.open(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        applied = image.format in TURNED_FORMATS and orientation in _STEPS
        return image.size, int(orientation) if applied else 1


def displayed(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of an image after its rotation."""
    return size[::-1] if _STEPS[orientation][0] else size


def turn_boxes(
    boxes: np.ndarray, size: tuple[int, int], orientation: int
) -> np.ndarray:
    """Turn boxes (N, 4) xyxy of an image of a stored size to where it shows them."""
    swap, *mirror = _STEPS[orientation]
    corners = boxes.reshape(-1, 2, 2)
    if swap:
        corners = corners[..., ::-1]
    far = np.array(displayed(size, orientation))
    corners = np.where(mirror, far - corners, corners)
    return np.sort(corners, axis=1).reshape(-1, 4)
