"""Real videos for tests."""

import struct
from pathlib import Path

import cv2
import numpy as np


def write_video(
    path: Path,
    number: int = 5,
    size: tuple[int, int] = (96, 64),
    fps: float = 10,
    codec: str = 'MJPG',
) -> Path:
    """Frames of one brightness each: 20, 40, .. (from the start after 240)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
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


def matroska_duration(path: Path, milliseconds: float) -> None:
    """Makes a Matroska file say how long it is; the longest stream counts there."""
    content = path.read_bytes()
    start = content.index(b'\x44\x89\x88') + 3
    path.write_bytes(
        content[:start] + struct.pack('>d', milliseconds) + content[start + 8 :]
    )


def matroska_second_frame(path: Path, milliseconds: int) -> None:
    """Moves the second frame, of 25 a second."""
    content = path.read_bytes()
    track, moved = b'\x81', struct.pack('>h', milliseconds)
    start = content.index(track + b'\x00\x28') + 1
    path.write_bytes(content[:start] + moved + content[start + 2 :])
