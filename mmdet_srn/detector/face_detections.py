"""What a detector finds on one image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces of one image, best first.

    Attributes:
        bboxes: Float32 (N, 4): x1, y1, x2, y2 in pixels of the image as it was given
            (of a file: with its EXIF orientation applied). They lie within the image,
            unless the detector was told ``clip=False``.
        scores: Float32 (N,), from 0 to 1.
        width: Width of that image in pixels.
        height: Height of that image in pixels.
        path: The file, or None if an array was given.
        limit_reached: Whether these are as many as the detector gives at most
            (``max_faces``): there may be more on the image.
    """

    bboxes: np.ndarray
    scores: np.ndarray
    width: int
    height: int
    path: Path | None = None
    limit_reached: bool = False

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.scores)
