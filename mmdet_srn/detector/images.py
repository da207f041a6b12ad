"""Images as the detector takes them: uint8, (H, W, 3), BGR."""

import io
import os
import stat
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from PIL import ExifTags, Image

ChannelOrder = Literal['bgr', 'rgb']

# JPEG and TIFF, whose EXIF orientation OpenCV applies. For WebP and AVIF that depends
# on its version, for PNG on whether it is animated, so it is applied here.
_TURNED_BY_OPENCV = (b'\xff\xd8', b'II', b'MM')
HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'mif1', b'msf1')
# Too many pixels; Pillow: no image, or too many pixels; pillow-heif is missing.
_UNDECODABLE = (cv2.error, OSError, Image.DecompressionBombError, ImportError)


class ImageError(ValueError):
    """An image that cannot be read or used; the message says which one and why."""


def read_image(
    source: str | PathLike[str] | bytes, flag: str = 'color', backend: str | None = None
) -> np.ndarray:
    """Read an image file, or its content, as :func:`as_bgr` returns it, upright.

    The EXIF orientation is applied. Of an animation or of several pages the first
    picture is read, with a warning. OpenCV's limit on pixels applies
    (OPENCV_IO_MAX_IMAGE_PIXELS; mmdet_srn sets it).

    Args:
        source: The file, or the bytes of one.
        flag: Colour type for ``mmcv.imfrombytes``. Defaults to 'color'.
        backend: Decoder for ``mmcv.imfrombytes``. Defaults to None: OpenCV.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is no regular file, not an image, damaged or truncated.
    """
    if isinstance(source, bytes):
        content, name = source, 'what was given as bytes'
    else:
        name = str(source)
        with open_file(source) as file:
            content = file.read()
    if not content:
        raise ImageError(f'{name} is empty')
    try:
        if _is_heif(content):
            image = _decode_heif(content)
        elif flag == 'color' and backend in (None, 'cv2'):
            image = _decode(content, name)
        else:
            import mmcv

            image = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except _UNDECODABLE as error:
        raise ImageError(f'{name} cannot be decoded ({error})') from error
    if image is None:
        raise ImageError(f'{name} is no image that OpenCV can read, or a damaged one')
    return as_bgr(image, name=name)


def open_file(path: str | PathLike[str]) -> BinaryIO:
    """Open a regular file.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is no regular file.
    """
    if '\0' in os.fspath(path):
        raise ImageError(f'{os.fspath(path)!r} is no file name')
    file = open(path, 'rb', opener=_open_without_waiting)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise ImageError(f'{path} is a pipe or a device, not a regular file')


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe, too, without waiting for its writer."""
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def _decode(content: bytes, name: str) -> np.ndarray | None:
    """Decode an image with all its bits, upright; None if OpenCV cannot."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    turned = content.startswith(_TURNED_BY_OPENCV)
    if not turned:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    # A JPEG file's further pictures are previews. Pillow may only look at what OpenCV
    # has decoded, which is within its limit.
    if image is None or content.startswith(b'\xff\xd8'):
        return image
    orientation, animated = _read_header(content)
    if animated:
        warnings.warn(
            f'{name} holds several pictures (an animation, or pages): only the first '
            'is read',
            stacklevel=2,
        )
    return image if turned else turn(image, orientation)


def _read_header(content: bytes) -> tuple[int, bool]:
    """Return the EXIF orientation, and whether there are several pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about many pixels
        try:
            with Image.open(io.BytesIO(content)) as image:
                return exif_orientation(image), getattr(image, 'is_animated', False)
        # Pillow raises all sorts of errors; OpenCV has read the file.
        except Exception:
            return 1, False


def exif_orientation(image: Image.Image) -> int:
    """Read an EXIF orientation; 1 where there is none, or the data are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # as above
            return 1


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _is_heif(content: bytes) -> bool:
    """Whether a file is HEIC; AVIF, which OpenCV reads, is not."""
    box = content[: min(int.from_bytes(content[:4], 'big'), 256)]
    is_heif = box[4:8] == b'ftyp' and box[8:12] in HEIF_BRANDS
    return is_heif and b'avif' not in box


def _decode_heif(content: bytes) -> np.ndarray:
    """Decode a HEIC image, as phones take them, upright."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImportError('HEIC needs pillow-heif: pip install pillow-heif') from error
    register_heif_opener()
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert('RGB'))[..., ::-1]
    except Exception as error:  # libheif's come in many classes
        raise OSError(f'{type(error).__name__}: {error}') from error


def from_memory(image: Any, channel_order: ChannelOrder = 'bgr') -> np.ndarray:
    """Convert a Pillow image, torch tensor or array as :func:`as_bgr` does.

    Args:
        image: A Pillow image, as it is (no EXIF orientation is applied); a tensor
            (C, H, W) or (H, W), RGB, on any device; or what NumPy can make an array of.
        channel_order: Order of the colours in an array. Defaults to 'bgr'.

    Raises:
        ImageError: If the type or the shape is none of an image.
    """
    if isinstance(image, Image.Image):
        deep = image.mode.startswith(('I', 'F'))  # which convert would clip
        return as_bgr(np.asarray(image if deep else image.convert('RGB')), 'rgb')
    torch = sys.modules.get('torch')  # without it nobody has a tensor
    if torch is None or not isinstance(image, torch.Tensor):
        return as_bgr(np.asarray(image), channel_order)
    array = image.detach().cpu().numpy()
    if array.ndim == 3:
        if array.shape[0] not in (1, 3, 4):
            raise ImageError(
                f'the tensor has shape {array.shape}, not (channels, height, width) '
                'with 1, 3 or 4 channels'
            )
        array = array.transpose(1, 2, 0)
    return as_bgr(array, 'rgb', 'the tensor')


def as_bgr(
    image: np.ndarray, channel_order: ChannelOrder = 'bgr', name: str = 'image'
) -> np.ndarray:
    """Convert an array to the form that the detector takes.

    Args:
        image: uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). The upper 8
            bits of uint16 are used; if only 12 bits are set, the upper 8 of these, with
            a warning. A fourth channel, alpha, is dropped.
        channel_order: Order of the colours in ``image``. Defaults to 'bgr'.
        name: What to call the image in an error.

    Returns:
        uint8 (H, W, 3), BGR, contiguous; not copied if ``image`` is so.

    Raises:
        ImageError: If the array has another type or shape.
    """
    if image.dtype.type is np.uint16:  # of either byte order
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


def limit_size(image: np.ndarray, max_size: int | None) -> np.ndarray:
    """Shrink an image (H, W, C) whose longer side exceeds a limit in pixels.

    cv2.INTER_AREA (our choice) averages the pixels that it merges. Sides are rounded,
    at least 1.
    """
    height, width = image.shape[:2]
    if max_size is None or max(height, width) <= max_size:
        return image
    scale = max_size / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def rescale_boxes(
    bboxes: np.ndarray, shape: Sequence[int], given: Sequence[int]
) -> np.ndarray:
    """Map boxes (N, 4), xyxy, from an image of a shape (H, W, ..) to one of another."""
    if tuple(shape[:2]) == tuple(given[:2]):
        return bboxes
    height, width = given[0] / shape[0], given[1] / shape[1]
    return bboxes * np.array([width, height, width, height])


def enlarge_boxes(
    bboxes: np.ndarray, margin: float, shape: Sequence[int]
) -> np.ndarray:
    """Add a margin to boxes and round them outwards to pixels of the image.

    Args:
        bboxes: (N, 4), xyxy in pixels.
        margin: What to add on each side, as a part of the box's longer side: of a face
            at the image's edge the box may be a strip.
        shape: (H, W, ..) of the image.

    Returns:
        int (N, 4), x1, y1, x2, y2 for slices; an empty area where a box has no pixel in
        the image.
    """
    bboxes = np.asarray(bboxes, np.float64).reshape(-1, 4)
    added = margin * (bboxes[:, 2:] - bboxes[:, :2]).max(axis=1, keepdims=True)
    starts, ends = np.floor(bboxes[:, :2] - added), np.ceil(bboxes[:, 2:] + added)
    height, width = shape[:2]
    bboxes = np.hstack((starts, ends))
    return np.clip(bboxes, 0, [width, height] * 2).astype(int)


@contextmanager
def report_as_image_error(image: np.ndarray) -> Iterator[None]:
    """Raise an :class:`ImageError` where OpenCV cannot transform an image.

    An example is a strip whose shorter side would be resized to 0 pixels.
    """
    try:
        yield
    except cv2.error as error:
        height, width = image.shape[:2]
        raise ImageError(
            f'the test pipeline cannot take an image of {width}x{height} pixels '
            f'({error})'
        ) from error
