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
from .gaps import GapFiller
from .hiding import Hiding
from .images import limit_size
from .sources import Frame, Source
from .video_writer import PlainVideo, TimedVideo, open_video

CSV_HEADER = (
    *('image', 'frame', 'width', 'height'),
    *('x1', 'y1', 'x2', 'y2', 'score', 'time', 'id'),
)
GREEN, BLACK = (0, 255, 0), (0, 0, 0)  # BGR
MAX_JPEG_SIDE = 65500  # libjpeg's limit


class OutputNames:
    """Unique paths in a folder, never those of an input.

    Files of earlier runs are replaced on purpose: the same inputs give the same names.

    Args:
        folder: The folder.
        taken: Files that must not be written to, such as the inputs.
    """

    def __init__(self, folder: Path, taken: Iterable[str | Path] = ()) -> None:
        self.folder = folder
        self._taken = {os.path.realpath(path) for path in taken}
        self._claimed: list[Path] = []

    def claim(self, name: PurePath, ending: str) -> Path:
        """Return ``folder/<name><ending>``, or ``<name>_2<ending>``, and so on.

        Args:
            name: Relative path without suffix; parts ``..`` are dropped.
            ending: What follows, such as '_faces.jpg'.
        """
        return self.claim_all(name, [ending])[0]

    def claim_all(self, name: PurePath, endings: Sequence[str]) -> list[Path]:
        """Return the same for several endings, with one number for all."""
        parts = [part for part in name.parts if part not in ('..', name.anchor)]
        stem = self.folder.joinpath(*parts)
        for number in itertools.count(1):
            start = stem.name if number == 1 else f'{stem.name}_{number}'
            paths = [stem.with_name(f'{start}{ending}') for ending in endings]
            # Unlike Path.resolve, realpath accepts a link that leads to itself.
            places = {os.path.realpath(path) for path in paths}
            if places.isdisjoint(self._taken):
                break
        self._taken |= places
        self._claimed += paths
        return paths

    def take_claimed(self) -> list[Path]:
        """Return the paths that were given out since the last call."""
        claimed, self._claimed = self._claimed, []
        return claimed


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

    def end_input(self) -> list[Path]:
        """Return no files: this one is for all inputs."""
        return []

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLines(LineFile):
    """``faces.jsonl``: one line per image, a JSON object.

    Keys: ``image`` (file, or 'webcam 0'), ``frame`` (number from 0) and ``time``
    (seconds, or null), both only of videos and webcams, ``width``, ``height``,
    ``bboxes`` ([[x1, y1, x2, y2], ..] in pixels), ``scores``, and ``ids`` of faces that
    are tracked (null: none yet). Best first; the numbers give the float32 back.
    """

    suffix = '.jsonl'

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Append a line."""
        record: dict[str, Any] = dict(image=str(frame.source))
        if frame.index is not None:
            record |= dict(frame=frame.index, time=_seconds(frame))
        record |= dict(
            width=faces.width,
            height=faces.height,
            bboxes=[_short(box) for box in faces.bboxes],
            scores=_short(faces.scores),
        )
        if faces.ids is not None:
            record['ids'] = _known(faces)
        self._append(f'{json.dumps(record)}\n')


class CocoJson(JsonLines):
    """``faces_coco.json``: images and annotations, with scores, as COCO has them.

    Boxes are x, y, w, h. An image of a video has its ``frame`` and ``time``, a face of
    a track its ``track_id``, as in TAO. Until the end what was found is in
    ``.faces_coco.jsonl``.
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
            names = ('width', 'height', 'frame', 'time')
            yield image | {name: record[name] for name in names if name in record}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        numbers = itertools.count(1)
        for number, record in self._records():
            bboxes, scores = record['bboxes'], record['scores']
            ids = record.get('ids', [None] * len(bboxes))
            for box, score, track in zip(bboxes, scores, ids, strict=True):
                x1, y1, x2, y2 = box
                face = dict(
                    id=next(numbers),
                    image_id=number,
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                    score=score,
                )
                yield face if track is None else face | dict(track_id=track)


class Csv(LineFile):
    """``faces.csv``: one row per face; images without a face have none.

    Columns: :data:`CSV_HEADER`, corners in pixels. ``frame`` and ``time`` (seconds) are
    empty for images, ``id`` for faces without one.
    """

    suffix = '.csv'
    header = ','.join(CSV_HEADER) + '\n'

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Append the rows of an image."""
        index = '' if frame.index is None else frame.index
        start = (str(frame.source), index, faces.width, faces.height)
        text = io.StringIO(newline='')
        rows = csv.writer(text, lineterminator='\n')
        scores, ids, time = _short(faces.scores), _known(faces), _seconds(frame)
        for box, score, number in zip(faces.bboxes, scores, ids, strict=True):
            rows.writerow([*start, *_short(box), score, time, number])  # None: empty
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

    def end_input(self) -> list[Path]:
        """Return the files of the current input."""
        return self._names.take_claimed()

    def close(self) -> None:
        """Do nothing."""

    def _place(self, frame: Frame) -> tuple[Path, str]:
        """Return the file, and the line that names the image in it."""
        source = frame.source
        if frame.index is None:
            is_file = source.kind == 'image'
            place = PurePath(os.path.abspath(source.location) if is_file else 'stdin')
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

    An image appears when it is whole; a video can be played even if the process is
    killed, see :func:`.open_video`. Neither carries metadata of its source.
    """

    ending = '_faces'

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder
        self._names = OutputNames(folder, inputs)
        self._video: PlainVideo | TimedVideo | None = None
        self._source: Source | None = None

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write an image, or a frame of the current video.

        Raises:
            OSError: If it cannot be written.
        """
        self._write(frame, draw_faces(frame.image, faces))

    def _write(self, frame: Frame, picture: np.ndarray) -> None:
        if frame.source is not self._source:
            self._close_video()
            self._source = frame.source
        name = frame.source.name
        if frame.index is None:
            _write_jpeg(self._names.claim(name, f'{self.ending}.jpg'), picture)
            return
        if self._video is None:
            path = self._names.claim(name, f'{self.ending}.mkv')
            self._video = open_video(path, frame)
        self._video.write(picture, frame.time)

    def end_input(self) -> list[Path]:
        """Finish the current video; return the files of the current input."""
        self.close()
        return self._names.take_claimed()

    def close(self) -> None:
        """Finish the current video."""
        self._close_video()

    def _close_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()


class HiddenFiles(DrawnFiles):
    """``<name>_hidden.jpg`` and ``<name>_hidden.mkv``, where no face can be seen.

    In a video faces are hidden in frames as well in which they were not found: between
    detections, before the first and after the last. Its frames are written so much
    later.

    Args:
        folder: Where to write.
        inputs: Files that must not be written to.
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


class CropFiles:
    """Faces: ``<name>_<i>.jpg`` of an image, ``<name>.frames/<frame>_<i>.jpg``.

    ``i`` is the face's number in its image, from 0, the best first.

    Args:
        folder: Where to write.
        inputs: Files that must not be written to.
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
        self.path = folder
        self._margin, self._min_size = margin, min_size
        self._names = OutputNames(folder, inputs)
        self._source: Source | None = None  # of a video; one name for all its frames
        self._folder = folder

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write the faces of an image."""
        endings = [f'_{i}.jpg' for i in range(len(faces))]
        if frame.index is None:
            paths = self._names.claim_all(frame.source.name, endings)
        else:
            if frame.source is not self._source:
                self._source = frame.source
                self._folder = self._names.claim(frame.source.name, '.frames')
            paths = [self._folder / f'{frame.index:06}{ending}' for ending in endings]
        sides = (faces.bboxes[:, 2:] - faces.bboxes[:, :2]).min(axis=1)
        crops = faces.crops(frame.image, self._margin)
        for path, crop, side in zip(paths, crops, sides, strict=True):
            if side >= self._min_size and crop.size:
                _write_jpeg(path, crop)

    def end_input(self) -> list[Path]:
        """Return the files of the current input."""
        return self._names.take_claimed()

    def close(self) -> None:
        """Do nothing."""


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image, which appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f'.{path.name}.part')
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
    rows = zip(corners.tolist(), faces.scores, _known(faces), strict=True)
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


def _separate(texts: Iterable[str]) -> Iterator[str]:
    """Put commas and line ends between texts."""
    for i, text in enumerate(texts):
        yield f',\n{text}' if i else text


def _short(values: np.ndarray) -> list[float]:
    """Write float32 as the shortest decimals that give it back."""
    return [float(str(value)) for value in values.astype(np.float32)]


def _seconds(frame: Frame) -> float | None:
    return None if frame.time is None else round(frame.time, 6)


def _known(faces: FaceDetections) -> list[int | None]:
    """Return the id of each face, None where it has none."""
    ids = [-1] * len(faces) if faces.ids is None else faces.ids.tolist()
    return [None if number < 0 else number for number in ids]


#: Made with the folder to write to, which must exist, and files that must not be
#: written to. ``write`` gets what was found on one image after the other.
Writer: TypeAlias = LineFile | WIDERText | DrawnFiles | CropFiles
#: By the names that ``--format`` takes.
FORMATS: dict[str, type[Writer]] = {
    'json': JsonLines,
    'csv': Csv,
    'wider': WIDERText,
    'coco': CocoJson,
}
