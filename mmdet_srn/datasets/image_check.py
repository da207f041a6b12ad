"""Is a file a whole image, and how does training see it? No OpenMMLab needed."""

import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

# Formats whose orientation OpenCV applies, but not Pillow's size (as it does a TIFF's).
_TURNED = ('JPEG', 'MPO', 'PNG')


class ImageFacts(NamedTuple):
    """What a file turned out to be.

    Attributes:
        error: Why the file is no whole image; '' if it is one.
        width: Width in pixels as OpenCV, and with it training, decodes the image,
            i.e. with the rotation that its EXIF tag asks for; 0 with an error.
        height: Height likewise.
        format: Pillow's name of the file format, such as 'JPEG'; '' if unknown.
        mode: Pillow's name of the pixel format, such as 'RGB', 'L' (grey) or 'CMYK'.
        orientation: The EXIF orientation, 1 (upright) to 8; from 5 on width and
            height are swapped.
        warning: First line of what the decoder complained about while it decoded
            the image all the same; damaged data in the middle of a JPEG file shows
            here only. '' if there was nothing.
        digest: Hash of the file's bytes, equal for equal files.
    """

    error: str = ''
    width: int = 0
    height: int = 0
    format: str = ''
    mode: str = ''
    orientation: int = 1
    warning: str = ''
    digest: str = ''


def check_image(path: str) -> ImageFacts:
    """Decode a file in full, by Pillow and by OpenCV.

    Pillow tells a truncated file, which OpenCV may fill up with grey; OpenCV is what
    mmcv decodes with.

    Args:
        path: The file.

    Returns:
        What it is; a file that cannot be read or decoded gives an ``error``.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        return ImageFacts(error=f'cannot be read: {error.strerror}')
    facts = ImageFacts(digest=hashlib.blake2b(data, digest_size=16).hexdigest())
    if not data:
        return facts._replace(error='empty file')
    try:
        with _pillow(), Image.open(io.BytesIO(data)) as image:
            facts = facts._replace(format=image.format or '', mode=image.mode)
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Decoders raise all sorts of errors on broken files.
    except Exception as error:
        return facts._replace(error=_message(error))
    if orientation in range(1, 9):
        facts = facts._replace(orientation=int(orientation))
    try:
        with _stderr() as complaints:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return facts._replace(error=f'OpenCV: {_message(error)}')
    if pixels is None:
        why = ''.join(complaints) or 'though Pillow can'
        return facts._replace(error=f'OpenCV cannot decode it: {why}')
    height, width = pixels.shape[:2]
    return facts._replace(width=width, height=height, warning=''.join(complaints))


def displayed_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image as it is displayed, from its header.

    Args:
        path: The file.

    Returns:
        The size after the rotation by EXIF that OpenCV applies; None if the file is
        missing or no image.
    """
    try:
        with _pillow(), Image.open(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            turned = orientation in (5, 6, 7, 8) and image.format in _TURNED
            return image.size[::-1] if turned else image.size
    # Decoders raise all sorts of errors on broken files.
    except Exception:
        return None


@contextmanager
def _pillow() -> Iterator[None]:
    """Lets Pillow read what OpenCV, and with it training, reads."""
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow stops at twice this number, OpenCV at 2 ** 30 pixels.
    Image.MAX_IMAGE_PIXELS = 1 << 29
    try:
        # A broken EXIF block and a very large image are warned about; the pixels
        # are what counts.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _message(error: Exception) -> str:
    """The error in one line, without the address of a buffer in it."""
    text = str(error).split(' <_io.BytesIO')[0].strip().partition('\n')[0]
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


@contextmanager
def _stderr() -> Iterator[list[str]]:
    """Catches what C libraries write to file descriptor 2: the first line, if any."""
    complaints: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            text = file.read().decode(errors='replace').strip()
            complaints += text.splitlines()[:1]
