"""Frames with faces, for writers."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np

from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.sources import Source

PIXELS = np.zeros((64, 96, 3), np.uint8)
VIDEO = Source('video', 'clips/clip.avi', PurePath('clip'))
WEBCAM = Source('webcam', '0', PurePath('webcam_0'))


def image(location: str, pixels: np.ndarray = PIXELS) -> Frame:
    name = PurePath(location).with_suffix('')
    return Frame(Source('image', location, PurePath(name.name)), pixels)


def faces(number: int, seed: int = 0) -> FaceDetections:
    rng = np.random.default_rng(seed)
    bboxes = rng.uniform(-5, 100, (number, 4)).astype(np.float32)
    bboxes[:, 2:] += bboxes[:, :2] + 5  # x2 > x1, y2 > y1
    scores = np.sort(rng.uniform(size=number).astype(np.float32))[::-1]
    return FaceDetections(bboxes, scores, 96, 64)


def faces_at(
    pixels: np.ndarray, *boxes: Sequence[float], ids: list[int] | None = None
) -> FaceDetections:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    bboxes, (height, width) = np.float32(boxes).reshape(-1, 4), pixels.shape[:2]
    ids = None if ids is None else np.array(ids, int)
    return FaceDetections(bboxes, scores, width, height, ids=ids)


def write(kind, folder: Path, shown: Iterable[tuple[Frame, FaceDetections]]) -> Path:
    """Write with a new writer; where."""
    writer = kind(folder)
    for frame, found in shown:
        writer.write(frame, found)
    writer.close()
    return writer.path


def files(root: str | Path) -> list[str]:
    """Relative paths of all files in a folder and below."""
    found = (path for path in Path(root).rglob('*') if path.is_file())
    return sorted(path.relative_to(root).as_posix() for path in found)
