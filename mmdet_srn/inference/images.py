"""Images as the detector takes them: uint8, (H, W, 3), BGR."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import cv2
import mmcv
import numpy as np
from mmengine.dataset import Compose
from PIL import Image

from .heif import decode_heif, is_heif

ChannelOrder = Literal['bgr', 'rgb']

# Too many pixels; Pillow: no image, or too many pixels; pillow-heif is missing.
_UNDECODABLE = (cv2.error, OSError, Image.DecompressionBombError, ImportError)


class ImageError(ValueError):
    """An image that cannot be read or used; the message says which one and why."""


def read_image(
    path: str | PathLike[str], flag: str = 'color', backend: str | None = None
) -> np.ndarray:
    """Reads an image file as mmdet's pipelines do.

    The EXIF orientation of JPEG, PNG and TIFF is applied (OpenCV 4.12 passes over that
    of WebP), so the image stands as viewers show it. Grey is repeated in three
    channels, alpha is dropped, of 16 bits the upper 8 are taken.

    Args:
        path: The file.
        flag: Colour type for ``mmcv.imfrombytes``. Defaults to 'color'.
        backend: Decoder for ``mmcv.imfrombytes``. Defaults to None, mmcv's own
            default: OpenCV.

    Returns:
        Uint8 (H, W, 3), BGR.

    Raises:
        OSError: If there is no such file or it may not be read.
        ImageError: If it is no image, or one that is damaged or cut off.
    """
    content = Path(path).read_bytes()
    if not content:
        raise ImageError(f'{path} is empty')
    try:
        if is_heif(content):
            image = decode_heif(content)
        else:
            image = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except _UNDECODABLE as error:
        raise ImageError(f'{path} cannot be decoded ({error})') from error
    if image is None:
        raise ImageError(f'{path} is no image that OpenCV can read, or a damaged one')
    return as_bgr(image, name=str(path))


def as_bgr(
    image: np.ndarray, channel_order: ChannelOrder = 'bgr', name: str = 'image'
) -> np.ndarray:
    """Brings an array into the form that the detector takes.

    Args:
        image: Uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Of uint16
            the upper 8 bits are taken, as OpenCV does with files; a fourth channel,
            alpha, is dropped.
        channel_order: Order of the colours in ``image``. Defaults to 'bgr'.
        name: What to call the image in an error.

    Returns:
        Uint8 (H, W, 3), BGR, in contiguous memory; not copied if ``image`` is so.

    Raises:
        ImageError: If it is an array of another kind.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
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


def run_pipeline(pipeline: Compose, data: dict[str, Any]) -> dict[str, Any]:
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
