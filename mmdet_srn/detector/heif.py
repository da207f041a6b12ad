"""HEIC images, such as phones take them; OpenCV does not read them."""

import io

import numpy as np
from PIL import Image

_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'mif1', b'msf1')


def is_heif(content: bytes) -> bool:
    """Whether a file's content is HEIC; AVIF, which OpenCV reads, is not."""
    box = content[: min(int.from_bytes(content[:4], 'big'), 256)]
    return box[4:12][:4] == b'ftyp' and box[8:12] in _BRANDS and b'avif' not in box


def decode_heif(content: bytes) -> np.ndarray:
    """Decodes a HEIC image, turned as it says.

    Args:
        content: What the file holds.

    Returns:
        Uint8 (H, W, 3), BGR.

    Raises:
        ImportError: If pillow-heif is missing.
        OSError: If it is damaged.
        Image.DecompressionBombError: If it has too many pixels for Pillow.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImportError('HEIC needs pillow-heif: pip install pillow-heif') from error
    register_heif_opener()
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert('RGB'))[..., ::-1]
