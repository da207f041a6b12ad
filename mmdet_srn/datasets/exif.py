"""Sizes and boxes of images that an EXIF tag turns or mirrors."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import ExifTags, Image

# Formats whose orientation OpenCV applies, but not Pillow's size (as it does a TIFF's).
_TURNED = ('JPEG', 'MPO', 'PNG')
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


def stored_size(path: str | Path) -> tuple[tuple[int, int], int]:
    """Read width and height as stored, and the orientation that OpenCV applies.

    Raises:
        OSError: If it is no image; Pillow raises other errors as well.
    """
    with opencv_limits(), Image.open(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        applied = image.format in _TURNED and orientation in _STEPS
        return image.size, int(orientation) if applied else 1


def displayed(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return width and height of an image after its rotation."""
    return size[::-1] if _STEPS[orientation][0] else size


def displayed_size(path: str | Path) -> tuple[int, int] | None:
    """Read width and height of an image, rotated by EXIF as OpenCV does; or None."""
    try:
        return displayed(*stored_size(path))
    # Decoders raise all sorts of errors on broken files.
    except Exception:
        return None


@contextmanager
def opencv_limits() -> Iterator[None]:
    """Let Pillow read what OpenCV, and so training, reads, without warnings."""
    # Pillow stops at twice this number, OpenCV at 2 ** 30 pixels.
    limit = patch.object(Image, 'MAX_IMAGE_PIXELS', 1 << 29)
    with limit, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def turn_boxes(
    boxes: np.ndarray, size: tuple[int, int], orientation: int
) -> np.ndarray:
    """Turn boxes (N, 4) xyxy of an image of a stored size to where it shows them."""
    corners = turn_points(boxes.reshape(-1, 2, 2), size, orientation)
    return np.sort(corners, axis=1).reshape(-1, 4)


def turn_points(
    points: np.ndarray, size: tuple[int, int], orientation: int
) -> np.ndarray:
    """Turn points (..., 2) as :func:`turn_boxes` does boxes."""
    swap, *mirror = _STEPS[orientation]
    points = points[..., ::-1] if swap else points
    return np.where(mirror, np.array(displayed(size, orientation)) - points, points)
