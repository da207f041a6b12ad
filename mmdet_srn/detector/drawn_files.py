"""Images and videos with the faces drawn in."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .face_detections import FaceDetections
from .images import fit
from .output_names import OutputNames
from .sources import Frame, Source, is_utf8

GREEN, BLACK = (0, 255, 0), (0, 0, 0)  # BGR
# A webcam, or a video that does not say.
DEFAULT_FPS = 25.0
MAX_JPEG_SIDE = 65500  # libjpeg's limit


def draw_faces(image: np.ndarray, faces: FaceDetections) -> np.ndarray:
    """Draws boxes, and scores above those that are wide enough for them.

    mmdet's visualizer is not used: it draws with matplotlib, too slow for videos.

    Args:
        image: Uint8 (H, W, 3), BGR.
        faces: What was found on it.

    Returns:
        A copy with green boxes; lines get thicker with the image's size.
    """
    drawn = image.copy()
    thickness = max(round(max(image.shape[:2]) / 500), 1)
    size = 0.4 + 0.1 * thickness
    limits = np.array([faces.width, faces.height] * 2)
    corners = np.rint(np.clip(faces.bboxes, -limits, 2 * limits)).astype(int)
    for (x1, y1, x2, y2), score in zip(corners.tolist(), faces.scores, strict=True):
        cv2.rectangle(drawn, (x1, y1), (x2, y2), GREEN, thickness)
        text = f'{score:.2f}'
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


class DrawnFiles:
    """``<name>_faces.jpg`` of an image, ``<name>_faces.mkv`` of a video or webcam.

    An image appears when it is whole. Videos are Matroska files, MPEG-4 without
    sound: what such a file holds can be played even if the process is killed, which an
    .mp4 file without its end cannot. Frames of another size than the first, and sides
    of odd length, are fitted to the video's.

    Args:
        folder: Folder of the files; files of the same name are replaced.
        inputs: Files that must not be written to.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder
        self._names = OutputNames(folder, inputs)
        self._video: cv2.VideoWriter | None = None
        self._source: Source | None = None
        self._size = (0, 0)

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Writes an image, or a frame of the current video.

        Raises:
            OSError: If it cannot be written.
        """
        drawn = draw_faces(frame.image, faces)
        if frame.source is not self._source:
            self.close()
            self._source = frame.source
        if frame.source.kind == 'image':
            path = self._names.claim(frame.source.name, '_faces.jpg')
            _write_image(path, drawn)
            return
        if self._video is None:
            self._video = self._open_video(frame)
        self._video.write(cv2.resize(drawn, self._size))

    def close(self) -> None:
        """Ends the current video."""
        if self._video is not None:
            self._video.release()
        self._video = None

    def _open_video(self, frame: Frame) -> cv2.VideoWriter:
        path = self._names.claim(frame.source.name, '_faces.mkv')
        if not is_utf8(path):
            raise OSError(f'{path} is not UTF-8: OpenCV cannot write a video there')
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = frame.image.shape[:2]
        self._size = (max(width // 2 * 2, 2), max(height // 2 * 2, 2))
        video = cv2.VideoWriter(
            str(path),
            cv2.VideoWriter.fourcc(*'mp4v'),
            frame.fps or DEFAULT_FPS,
            self._size,
        )
        if not video.isOpened():
            raise OSError(f'OpenCV cannot write the video {path}')
        return video


def _write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f'.{path.name}.part')
    content = cv2.imencode('.jpg', fit(image, MAX_JPEG_SIDE))[1]
    scratch.write_bytes(content.tobytes())
    os.replace(scratch, path)
