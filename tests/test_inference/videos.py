"""Real videos for tests."""

from pathlib import Path

import cv2
import numpy as np


def write_video(
    path: Path, number: int = 5, size: tuple[int, int] = (96, 64), fps: float = 10
) -> Path:
    """Frames of one brightness each: 20, 40, .. (from the start after 240)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), fps, size)
    assert writer.isOpened()
    for i in range(number):
        writer.write(np.full((*size[::-1], 3), 20 * (i % 12 + 1), np.uint8))
    writer.release()
    return path


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while (image := capture.read()[1]) is not None:
        images.append(image)
    capture.release()
    return images
