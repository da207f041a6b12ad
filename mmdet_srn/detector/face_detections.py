"""What is found in an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .images import enlarge_boxes

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces of one image, best first.

    Attributes:
        bboxes: float32 (N, 4): x1, y1, x2, y2 in pixels of the image as given (of a
            file: with its EXIF orientation applied), clipped to it unless the detector
            has ``clip=False``.
        scores: float32 (N,), from 0 to 1.
        width: Width of that image in pixels.
        height: Height of that image in pixels.
        path: The file, or None if an array was given.
        limit_reached: Whether there are ``max_faces`` of them: the image may have more.
        ids: int (N,), the number of each face in a video, -1 where it has none yet;
            None if faces are not tracked.
    """

    bboxes: np.ndarray
    scores: np.ndarray
    width: int
    height: int
    path: Path | None = None
    limit_reached: bool = False
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)

    def crops(self, image: np.ndarray, margin: float = 0.0) -> list[np.ndarray]:
        """Cut the faces out of their image.

        Args:
            image: (H, W, ..), the image as it was given, of a file as ``read`` gives
                it.
            margin: What to add on each side, as a part of the box's longer side.
                Defaults to 0.

        Returns:
            A view of ``image`` for each face, as far as it lies in the image: empty for
            a box that has no pixel there.

        Raises:
            ValueError: If the image has another size.
        """
        if image.shape[:2] != (self.height, self.width):
            raise ValueError(
                f'the faces are those of an image of {self.width}x{self.height} '
                f'pixels, not {image.shape[1]}x{image.shape[0]}'
            )
        boxes = enlarge_boxes(self.bboxes, margin, image.shape).tolist()
        return [image[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]

    def to_supervision(self) -> 'supervision.Detections':
        """Return them for supervision's trackers, annotators and zones.

        Raises:
            ImportError: If supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError(
                f'to_supervision needs supervision: pip install supervision ({error})'
            ) from error
        return Detections(
            xyxy=self.bboxes,
            confidence=self.scores,
            class_id=np.zeros(len(self), int),
            tracker_id=self.ids,
            data=dict(class_name=np.full(len(self), 'face')),
        )
