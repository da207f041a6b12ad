"""Photographs at half, a quarter, an eighth of their size, and so on."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

#: cv2's flags for what libjpeg averages while it decodes, by pixels on a block's side.
#: Height and width are divided by it and rounded up.
JPEG_STEPS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_ORIENTATION = 0x0112
_SPOILT = (  # what Pillow raises on headers that it cannot read
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error),
    Image.DecompressionBombError,
)


def upright_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Read the size of a JPEG file from its header.

    Args:
        content: The file.

    Returns:
        Height and width in pixels; None if only decoding tells them: the file is no
        plain JPEG, its header cannot be read, or its EXIF data says that the
        photograph is to be turned (then an edge that no block fills would not be the
        right or lower one).
    """
    if not content.startswith(b'\xff\xd8'):
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format != 'JPEG' or image.getexif().get(_ORIENTATION, 1) != 1:
                return None
            width, height = image.size
    except _SPOILT:
        return None
    return height, width


def average_blocks(image: np.ndarray, step: int) -> np.ndarray:
    """Average ``step`` x ``step`` pixels.

    Args:
        image: Image (H, W) or (H, W, C).
        step: Pixels on a side of a block, at least 1. The last row and column are
            repeated to fill the last blocks.

    Returns:
        The image with height and width divided by ``step`` and rounded up.
    """
    if step == 1:
        return image
    height, width = image.shape[:2]
    below, right = -height % step, -width % step
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // step, (height + below) // step)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
