"""Pictures and videos that the command writes: drawn, hidden, and cut out faces."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from .face_detections import FaceDetections
from .frames import Frame
from .gaps import GapFiller
from .hiding import Hiding
from .images import limit_size
from .sources import Source
from .video_writer import PlainVideo, TimedVideo, open_video
from .writers import FileWriter, list_ids

GREEN, BLACK = (0, 255, 0), (0, 0, 0)  # BGR
MAX_JPEG_SIDE = 65500  # libjpeg's limit


class DrawnFiles(FileWriter):
    """``<name>_faces.jpg`` of an image, ``<name>_faces.mkv`` of a video or webcam.

    An image appears when it is whole; a video can be played even if the process is
    killed, see :func:`.open_video`. Neither carries metadata of its source.
    """

    ending = '_faces'

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        super().__init__(folder, inputs)
        self._file: PlainVideo | TimedVideo | None = None
        self._source: Source | None = None

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write an image, or a frame of the current video.

        Raises:
            OSError: If it cannot be written.
        """
        self._write(frame, draw_faces(frame.image, faces))

    def _write(self, frame: Frame, picture: np.ndarray) -> None:
        if frame.source is not self._source:
            self._close_file()
            self._source = frame.source
        name = frame.source.name
        if frame.index is None:
            _write_jpeg(self._names.claim(name, f'{self.ending}.jpg'), picture)
            return
        if self._file is None:
            path = self._names.claim(name, f'{self.ending}.mkv')
            self._file = open_video(path, frame)
        self._file.write(picture, frame.time)

    def close(self) -> None:
        """Finish the current video."""
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class HiddenFiles(DrawnFiles):
    """``<name>_hidden.jpg`` and ``<name>_hidden.mkv``, where no face can be seen.

    In a video faces are hidden in frames as well in which they were not found: between
    detections, before the first and after the last. Its frames are written so much
    later.

    Args:
        hiding: How to hide a face.
        gap: For how many frames a face that is not found stays hidden.
    """

    ending = '_hidden'

    def __init__(
        self, folder: Path, inputs: Sequence[str] = (), *, hiding: Hiding, gap: int = 10
    ) -> None:
        super().__init__(folder, inputs)
        self._hiding = hiding
        self._gaps = GapFiller(gap, hold=True)

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Take an image, or a frame of the current video; write those that are ready.

        Raises:
            OSError: If one cannot be written.
        """
        self._hide(self._gaps.push(frame, faces))

    def close(self) -> None:
        """Write the frames that are left and finish the current video."""
        try:
            self._hide(self._gaps.flush())
        finally:
            super().close()

    def _hide(self, ready: Iterable[tuple[Frame, FaceDetections]]) -> None:
        for frame, faces in ready:
            self._write(frame, self._hiding(frame.image, faces.bboxes))


class CropFiles(FileWriter):
    """Faces: ``<name>_<i>.jpg`` of an image, ``<name>.frames/<frame>_<i>.jpg``.

    ``i`` is the face's number in its image, from 0, the best first.

    Args:
        margin: What to add on each side, as a part of the box's longer side.
        min_size: Leave out faces whose box has a shorter side, in pixels.
    """

    def __init__(
        self,
        folder: Path,
        inputs: Sequence[str] = (),
        *,
        margin: float = 0.2,
        min_size: float = 1,
    ) -> None:
        super().__init__(folder, inputs)
        self._margin, self._min_size = margin, min_size

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write the faces of an image."""
        endings = [f'_{i}.jpg' for i in range(len(faces))]
        if frame.index is None:
            paths = self._names.claim_all(frame.source.name, endings)
        else:
            folder = self._claim_folder(frame.source, frame.source.name)
            paths = [folder / f'{frame.index:06}{ending}' for ending in endings]
        sides = (faces.bboxes[:, 2:] - faces.bboxes[:, :2]).min(axis=1)
        crops = faces.crops(frame.image, self._margin)
        for path, crop, side in zip(paths, crops, sides, strict=True):
            if side >= self._min_size and crop.size:
                _write_jpeg(path, crop)


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image, which appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name('.part')  # shorter than any name of a result
    content = cv2.imencode('.jpg', limit_size(image, MAX_JPEG_SIDE))[1]
    scratch.write_bytes(content.tobytes())
    os.replace(scratch, path)


def draw_faces(image: np.ndarray, faces: FaceDetections) -> np.ndarray:
    """Draw boxes, and ids and scores above those that are wide enough for them.

    mmdet's visualizer draws with matplotlib, too slow for videos.

    Args:
        image: uint8 (H, W, 3), BGR.
        faces: What was found on it.

    Returns:
        A copy with green boxes; lines get thicker with the image's size.
    """
    drawn = image.copy()
    thickness = max(round(max(image.shape[:2]) / 500), 1)
    size = 0.4 + 0.1 * thickness
    limits = np.array([faces.width, faces.height] * 2)
    corners = np.rint(np.clip(faces.bboxes, -limits, 2 * limits)).astype(int)
    rows = zip(corners.tolist(), faces.scores, list_ids(faces), strict=True)
    for (x1, y1, x2, y2), score, number in rows:
        cv2.rectangle(drawn, (x1, y1), (x2, y2), GREEN, thickness)
        text = f'{score:.2f}' if number is None else f'{number}: {score:.2f}'
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        if width > 1.5 * (x2 - x1):
            continue
        y = y1 - thickness if y1 > 1.5 * height else y2 + height + thickness
        for colour, width in ((BLACK, 2 * thickness + 1), (GREEN, thickness)):
            cv2.putText(
                *(drawn, text, (x1, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, width),
                lineType=cv2.LINE_AA,
            )
    return drawn
