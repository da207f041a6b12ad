"""What the command writes: results and drawings, image by image.

Whatever happens, what is finished stays on the disk, whole.
"""

import csv
import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias

import cv2
import numpy as np

from ..evaluation.wider_face_results import write_results
from .face_detector import FaceDetections
from .images import limit_size
from .sources import Frame, Source, is_utf8

CSV_HEADER = ('image', 'frame', 'width', 'height', 'x1', 'y1', 'x2', 'y2', 'score')
GREEN, BLACK = (0, 255, 0), (0, 0, 0)  # BGR
DEFAULT_FPS = 25.0  # of a webcam, or a video that does not say
MAX_JPEG_SIDE = 65500  # libjpeg's limit


class OutputNames:
    """Unique paths in a folder, never those of an input.

    Files of earlier runs are replaced on purpose: the same inputs give the same names.

    Args:
        folder: The folder.
        taken: Files that must not be written to, such as the inputs.

    Attributes:
        claimed: The paths that were given out since :func:`take_claims` was called.
    """

    def __init__(self, folder: Path, taken: Iterable[str | Path] = ()) -> None:
        self.folder = folder
        self._taken = {os.path.realpath(path) for path in taken}
        self.claimed: list[Path] = []

    def claim(self, name: PurePath, ending: str) -> Path:
        """Return ``folder/<name><ending>``, or ``<name>_2<ending>``, and so on.

        Args:
            name: Relative path without suffix; parts ``..`` are dropped.
            ending: What follows, such as '_faces.jpg'.
        """
        parts = [part for part in name.parts if part not in ('..', name.anchor)]
        stem, number = self.folder.joinpath(*parts), 1
        while True:
            suffix = '' if number == 1 else f'_{number}'
            path = stem.with_name(f'{stem.name}{suffix}{ending}')
            # Unlike Path.resolve, realpath accepts a link that leads to itself.
            if (place := os.path.realpath(path)) not in self._taken:
                self._taken.add(place)
                self.claimed.append(path)
                return path
            number += 1


@contextmanager
def take_stdout() -> Iterator[BinaryIO]:
    """Keep stdout for results: what anything else prints goes to stderr meanwhile.

    What a library in C prints as well.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield open(kept, 'wb', buffering=0, closefd=False)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class LineFile:
    """A file ``faces<suffix>``; what belongs to an image is appended in one piece.

    Args:
        out: The folder, or an open file, such as stdout.
        inputs: Files that must not be written to.
        lengths: Bytes to keep of the files of an earlier run, by name. Defaults to
            none: they are replaced.
    """

    stem = 'faces'
    suffix: str
    header = ''

    def __init__(
        self,
        out: Path | BinaryIO,
        inputs: Sequence[str] = (),
        lengths: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.length = 0
        if isinstance(out, Path):
            self.path = OutputNames(out, inputs).claim(PurePath(self.stem), self.suffix)
            self.length = lengths.get(self.path.name, 0)
            out = self.path.open('ab' if self.length else 'wb', buffering=0)
        self._file = out
        if not self.length:
            self._append(self.header)

    def _append(self, text: str) -> None:
        # Names that are not UTF-8 keep their bytes.
        content = text.encode('utf-8', 'surrogateescape')
        self.length += len(content)
        while content:  # a pipe may take a part
            content = content[self._file.write(content) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines(LineFile):
    """``faces.jsonl``: one line per image, a JSON object.

    Keys: ``image`` (file, or 'webcam 0'), ``frame`` (number from 0, only of videos and
    webcams), ``width``, ``height``, ``bboxes`` ([[x1, y1, x2, y2], ..] in pixels),
    ``scores``. Best first; the numbers give the float32 back.
    """

    suffix = '.jsonl'

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Append a line."""
        record: dict[str, Any] = dict(image=str(frame.source))
        if frame.index is not None:
            record['frame'] = frame.index
        record |= dict(
            width=faces.width,
            height=faces.height,
            bboxes=[_short(box) for box in faces.bboxes],
            scores=_short(faces.scores),
        )
        self._append(f'{json.dumps(record)}\n')


class CocoJson(JsonLines):
    """``faces_coco.json``: images and annotations, with scores, as COCO has them.

    Boxes are x, y, w, h. An image of a video has its number as ``frame``. Until the end
    what was found is in ``.faces_coco.jsonl``.
    """

    stem = '.faces_coco'

    def close(self) -> None:
        """Write the file from the lines, one at a time."""
        super().close()
        path = self.path.with_name(f'{self.path.stem[1:]}.json')
        scratch = path.with_name(f'.{path.name}.part')
        with scratch.open('w', encoding='ascii') as file:
            file.write('{"categories": [{"id": 1, "name": "face"}],\n"images": [')
            file.writelines(_separate(map(json.dumps, self._images())))
            file.write('],\n"annotations": [')
            file.writelines(_separate(map(json.dumps, self._annotations())))
            file.write(']}\n')
        os.replace(scratch, path)

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.path.open(encoding='ascii') as lines:
            yield from enumerate(map(json.loads, lines), 1)

    def _images(self) -> Iterator[dict[str, Any]]:
        for number, record in self._records():
            image = dict(id=number, file_name=record['image'])
            image |= {name: record[name] for name in ('width', 'height')}
            yield image | ({'frame': record['frame']} if 'frame' in record else {})

    def _annotations(self) -> Iterator[dict[str, Any]]:
        numbers = itertools.count(1)
        for number, record in self._records():
            for box, score in zip(record['bboxes'], record['scores'], strict=True):
                x1, y1, x2, y2 = box
                yield dict(
                    id=next(numbers),
                    image_id=number,
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                    score=score,
                )


class Csv(LineFile):
    """``faces.csv``: one row per face; images without a face have none.

    Columns: :data:`CSV_HEADER`, corners in pixels; ``frame`` is empty for images.
    """

    suffix = '.csv'
    header = ','.join(CSV_HEADER) + '\n'

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Append the rows of an image."""
        index = '' if frame.index is None else frame.index
        start = (str(frame.source), index, faces.width, faces.height)
        text = io.StringIO(newline='')
        rows = csv.writer(text, lineterminator='\n')
        for box, score in zip(faces.bboxes, _short(faces.scores), strict=True):
            rows.writerow([*start, *_short(box), score])
        self._append(text.getvalue())


class WIDERText:
    """``wider/<event>/<name>.txt``: WIDER FACE's official result files.

    Event and name are those of the image's folder and of the image; for a video
    ``<video>.frames`` and the frame's number. Rows are x, y, w, h, score with
    w = x2 - x1. A file appears when it is whole.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder / 'wider'
        self._names = OutputNames(self.path, inputs)
        # One name per video, not per frame: memory does not grow with its length.
        self._video: Source | None = None
        self._folder = self.path

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write the file of an image."""
        path, title = self._place(frame)
        x1, y1, x2, y2 = faces.bboxes.astype(np.float64).T
        scores = faces.scores.astype(np.float64)
        rows = np.stack((x1, y1, x2 - x1, y2 - y1, scores), axis=1)  # (N, 5)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.', dir=self.path) as scratch:
            write_results(scratch, [('event/name', title, rows)])
            os.replace(Path(scratch, 'event', 'name.txt'), path)

    def close(self) -> None:
        """Do nothing."""

    def _place(self, frame: Frame) -> tuple[Path, str]:
        """Return the file, and the line that names the image in it."""
        source = frame.source
        if frame.index is None:
            place = PurePath(os.path.abspath(source.location))
            event = place.parent.name or 'images'
            if event.endswith('.frames'):
                event += '_'  # that is for videos
            path = self._names.claim(PurePath(event, place.stem), '.txt')
            title = f'{event}/{place.name}'
            return path, title.encode('utf-8', 'replace').decode()
        if source is not self._video:
            self._video = source
            self._folder = self._names.claim(PurePath(source.name.name), '.frames')
        path = self._folder / f'{frame.index:06}.txt'
        return path, f'{self._folder.name}/{path.stem}'


class DrawnFiles:
    """``<name>_faces.jpg`` of an image, ``<name>_faces.mkv`` of a video or webcam.

    An image appears when it is whole. Videos are Matroska files with MPEG-4, without
    sound: unlike an .mp4 file without its end, one can be played even if the process is
    killed. Frames that differ in size from the first, and odd sides, are resized.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder
        self._names = OutputNames(folder, inputs)
        self._video: cv2.VideoWriter | None = None
        self._source: Source | None = None
        self._size = (0, 0)

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write an image, or a frame of the current video.

        Raises:
            OSError: If it cannot be written.
        """
        drawn = draw_faces(frame.image, faces)
        if frame.source is not self._source:
            self.close()
            self._source = frame.source
        if frame.index is None:
            path = self._names.claim(frame.source.name, '_faces.jpg')
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f'.{path.name}.part')
            content = cv2.imencode('.jpg', limit_size(drawn, MAX_JPEG_SIDE))[1]
            scratch.write_bytes(content.tobytes())
            os.replace(scratch, path)
            return
        if self._video is None:
            self._video = self._open_video(frame)
        self._video.write(cv2.resize(drawn, self._size))

    def close(self) -> None:
        """Finish the current video."""
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
        fourcc = cv2.VideoWriter.fourcc(*'mp4v')
        fps = frame.fps or DEFAULT_FPS
        video = cv2.VideoWriter(str(path), fourcc, fps, self._size)
        if not video.isOpened():
            raise OSError(f'OpenCV cannot write the video {path}')
        return video


def draw_faces(image: np.ndarray, faces: FaceDetections) -> np.ndarray:
    """Draw boxes, and scores above those that are wide enough for them.

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


def _separate(texts: Iterable[str]) -> Iterator[str]:
    """Put commas and line ends between texts."""
    for i, text in enumerate(texts):
        yield f',\n{text}' if i else text


def _short(values: np.ndarray) -> list[float]:
    """Write float32 as the shortest decimals that give it back."""
    return [float(str(value)) for value in values.astype(np.float32)]


def take_claims(writer: 'Writer') -> list[Path]:
    """Return the files that a writer has made since the last call, one for each input.

    Not those to which it appends.
    """
    if isinstance(writer, LineFile):
        return []
    claimed, writer._names.claimed = writer._names.claimed, []
    return claimed


#: Made with the folder to write to, which must exist, and files that must not be
#: written to. ``write`` gets what was found on one image after the other.
Writer: TypeAlias = LineFile | WIDERText | DrawnFiles
#: By the names that ``--format`` takes.
FORMATS: dict[str, type[Writer]] = {
    'json': JsonLines,
    'csv': Csv,
    'wider': WIDERText,
    'coco': CocoJson,
}
