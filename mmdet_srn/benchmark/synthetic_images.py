"""Synthetic images, for timing without photographs."""

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, width: int, height: int, seed: int = 0) -> None:
    """Write a JPEG file that takes about as long to decode as a photograph.

    It holds coarse to fine patterns, each half as strong as the one before, and grain.
    """
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(1, 7):
        shape = (max(height >> (8 - octave), 2), max(width >> (8 - octave), 2), 3)
        pattern = rng.normal(0, 80 / 2**octave, shape).astype(np.float32)
        image += cv2.resize(pattern, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 4, image.shape)
    ok, data = cv2.imencode('.jpg', image.clip(0, 255).astype(np.uint8))
    assert ok
    path.write_bytes(data.tobytes())
