"""Animated GIF, WebP and PNG files, read picture by picture."""

import io
import warnings
from collections.abc import Iterator
from os import PathLike
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageSequence

from .images import ImageError, exif_orientation, open_file, turn


def open_animation(source: str | PathLike[str] | bytes) -> Image.Image | None:
    """Open an animation, a file or its content; return None for anything else.

    What Pillow cannot open is no animation: who reads it as an image says what is
    wrong with it.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is no regular file.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as file:
        # Of most files only the header is read.
        if _open(file) is None:
            return None
        file.seek(0)
        return _open(io.BytesIO(file.read()))


def _open(file: BinaryIO) -> Image.Image | None:
    """Open an animation; return None for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about many pixels, and broken EXIF data
        try:
            image = Image.open(file, formats=('GIF', 'PNG', 'WEBP'))
            return image if getattr(image, 'is_animated', False) else None
        except Exception:  # Pillow raises all sorts of errors
            return None


def animation_frames(animation: Image.Image) -> Iterator[tuple[np.ndarray, float]]:
    """Read the pictures of an animation as they are shown, upright, none ahead.

    Yields:
        uint8 (H, W, 3), BGR, and for how many seconds it is shown, 0 if unknown.

    Raises:
        ImageError: If it is damaged.
    """
    orientation = exif_orientation(animation)
    pictures = ImageSequence.Iterator(animation)
    while True:
        try:
            picture = next(pictures, None)
            if picture is None:
                return
            rgb = np.asarray(picture.convert('RGB'))
            seconds = picture.info.get('duration', 0) / 1000
        except Exception as error:  # as above
            raise ImageError(f'{type(error).__name__}: {error}') from error
        bgr = np.ascontiguousarray(turn(rgb[..., ::-1], orientation))
        del picture, rgb
        yield bgr, seconds
        del bgr
