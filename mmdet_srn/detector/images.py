"""Images as the detector takes them: uint8, (H, W, 3), BGR.

No OpenMMLab is needed to import this file: ``tools/detect_onnx.py`` has none.
"""

import io
import os
import stat
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from PIL import ExifTags, Image

from .heif import decode_heif, is_heif

if TYPE_CHECKING:
    from mmengine.dataset import Compose

ChannelOrder = Literal['bgr', 'rgb']

# JPEG, PNG and TIFF, whose EXIF orientation OpenCV applies. With the other formats
# that have one, WebP and AVIF, it depends on OpenCV's version: we do it ourselves.
_TURNED_BY_OPENCV = (b'\xff\xd8', b'\x89PNG', b'II', b'MM')
# Too many pixels; Pillow: no image, or too many pixels; pillow-heif is missing.
_UNDECODABLE = (cv2.error, OSError, Image.DecompressionBombError, ImportError)


class ImageError(ValueError):
    """An image that cannot be read or used; the message says which one and why."""


def read_image(
    path: str | PathLike[str], flag: str = 'color', backend: str | None = None
) -> np.ndarray:
    """Reads an image file.

    The EXIF orientation is applied, so the image stands as viewers show it. Grey is
    repeated in three channels, alpha is dropped, of 16 bits the upper 8 are taken; see
    :func:`as_bgr`. Of an animation or of several pages the first picture is read, with
    a warning. OpenCV's limit on pixels holds (OPENCV_IO_MAX_IMAGE_PIXELS); mmdet_srn
    sets it to 2**28 if it is imported before cv2.

    Args:
        path: The file.
        flag: Colour type for ``mmcv.imfrombytes``. Defaults to 'color'.
        backend: Decoder for ``mmcv.imfrombytes``. Defaults to None: OpenCV.

    Returns:
        Uint8 (H, W, 3), BGR.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is no image, or one that is damaged or cut off.
    """
    content = read_bytes(path)
    if not content:
        raise ImageError(f'{path} is empty')
    try:
        if is_heif(content):
            image = decode_heif(content)
        elif flag == 'color' and backend in (None, 'cv2'):
            image = _decode(content, str(path))
        else:
            import mmcv

            image = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except _UNDECODABLE as error:
        raise ImageError(f'{path} cannot be decoded ({error})') from error
    if image is None:
        raise ImageError(f'{path} is no image that OpenCV can read, or a damaged one')
    return as_bgr(image, name=str(path))


def read_bytes(path: str | PathLike[str]) -> bytes:
    """Reads a file, unless reading it could last for ever.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is a pipe or a device, or the name is none of a file.
    """
    if '\0' in os.fspath(path):
        raise ImageError(f'{os.fspath(path)!r} is no file name')
    with open(path, 'rb', opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ImageError(f'{path} is a pipe or a device, not a regular file')
        return file.read()


def _open_at_once(path: str, flags: int) -> int:
    """Opens a pipe, too, without waiting for one who writes to it."""
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def _decode(content: bytes, name: str) -> np.ndarray | None:
    """Decodes an image with all its bits, upright; None if OpenCV cannot."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    turned = content.startswith(_TURNED_BY_OPENCV)
    if not turned:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    # A JPEG file's further pictures are previews. What OpenCV has decoded is within
    # its limit: only then Pillow may look at it.
    if image is None or content.startswith(b'\xff\xd8'):
        return image
    orientation, animated = _header(content)
    if animated:
        warnings.warn(
            f'{name} holds several pictures (an animation, or pages): only the first '
            'is read',
            stacklevel=2,
        )
    return image if turned else _turn(image, orientation)


def _header(content: bytes) -> tuple[int, bool]:
    """EXIF orientation, and whether there are several pictures, as Pillow has it."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of broken EXIF data, and many pixels
        try:
            with Image.open(io.BytesIO(content)) as image:
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                return orientation, getattr(image, 'is_animated', False)
        # It raises all sorts of errors; OpenCV has read the file.
        except Exception:
            return 1, False


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def as_bgr(
    image: np.ndarray, channel_order: ChannelOrder = 'bgr', name: str = 'image'
) -> np.ndarray:
    """Brings an array into the form that the detector takes.

    Args:
        image: Uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Of uint16
            the upper 8 bits are taken; if it uses no more than 12 bits, the upper 8 of
            these, with a warning. A fourth channel, alpha, is dropped.
        channel_order: Order of the colours in ``image``. Defaults to 'bgr'.
        name: What to call the image in an error.

    Returns:
        Uint8 (H, W, 3), BGR, in contiguous memory; not copied if ``image`` is so.

    Raises:
        ImageError: If it is an array of another kind.
    """
    if image.dtype == np.uint16:
        colours = image[..., :3] if image.ndim == 3 else image
        few = 0 < colours.max(initial=0) < 2**12  # else they would be nearly black
        if few:
            warnings.warn(
                f'{name} uses no more than 12 of its 16 bits: taken for 12 bits',
                stacklevel=2,
            )
        image = (image >> (4 if few else 8)).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ImageError(
            f'{name} is {image.dtype}, not uint8 (0 to 255) or uint16 (0 to 65535)'
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ImageError(
            f'{name} has shape {image.shape}, not (height, width) or (height, width, '
            'channels) with 1, 3 or 4 channels'
        )
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    image = image[..., :3]
    return np.ascontiguousarray(image if channel_order == 'bgr' else image[..., ::-1])


def fit(image: np.ndarray, max_size: int | None) -> np.ndarray:
    """Makes an image smaller if its longer side is above a limit.

    Args:
        image: (H, W, C).
        max_size: Longest side allowed, in pixels; None: any.

    Returns:
        The image resized (cv2.INTER_AREA, our choice: it averages what it leaves
        out), with sides rounded and at least 1; or ``image`` itself.
    """
    height, width = image.shape[:2]
    if max_size is None or max(height, width) <= max_size:
        return image
    scale = max_size / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def take_back(
    bboxes: np.ndarray, shape: Sequence[int], given: Sequence[int]
) -> np.ndarray:
    """Brings boxes from a resized image to the image that was given.

    Args:
        bboxes: (N, 4), xyxy in pixels of the resized image.
        shape: Height and width of the resized image, and what may follow.
        given: The same of the image that was given.

    Returns:
        (N, 4), xyxy in pixels of the image that was given.
    """
    if tuple(shape[:2]) == tuple(given[:2]):
        return bboxes
    height, width = given[0] / shape[0], given[1] / shape[1]
    return bboxes * np.array([width, height, width, height])


def run_pipeline(pipeline: 'Compose', data: dict[str, Any]) -> dict[str, Any]:
    """Runs transforms on an image.

    Args:
        pipeline: The transforms.
        data: With the image as ``img``.

    Returns:
        What they make of ``data``.

    Raises:
        ImageError: If OpenCV cannot do with the image what they ask for, such as to
            resize a strip whose short side would then be no pixel.
    """
    height, width = data['img'].shape[:2]
    try:
        return pipeline(data)
    except cv2.error as error:
        raise ImageError(
            f'the test pipeline cannot take an image of {width}x{height} pixels '
            f'({error})'
        ) from error
