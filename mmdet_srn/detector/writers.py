"""What the command writes: results, image by image; for pictures see :mod:`.pictures`.

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
from typing import Any, BinaryIO, Protocol

import numpy as np

from ..evaluation.wider_face_results import write_results
from .face_detections import FaceDetections
from .frames import Frame
from .sources import Source

CSV_HEADER = (
    *('image', 'frame', 'width', 'height'),
    *('x1', 'y1', 'x2', 'y2', 'score', 'time', 'id'),
)
#: Bytes of a name: with a number and an ending it has to fit into a file system's 255.
MAX_STEM = 220


class Writer(Protocol):
    """Gets what was found on one image after the other."""

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Write what was found on an image."""

    def end_input(self) -> list[Path]:
        """Finish the current input; return the files that were made for it alone."""

    def close(self) -> None:
        """Finish all."""


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

        A name longer than :data:`MAX_STEM` bytes is cut.
        """
        return self.claim_all(name, [ending])[0]

    def claim_all(self, name: PurePath, endings: Sequence[str]) -> list[Path]:
        """Return the same for several endings, with one number for all."""
        parts = [part for part in name.parts if part not in ('..', name.anchor)]
        stem = self.folder.joinpath(*parts)
        short = stem.name
        while len(os.fsencode(short)) > MAX_STEM:
            short = short[:-1]
        for number in itertools.count(1):
            start = short if number == 1 else f'{short}_{number}'
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
            record['ids'] = list_ids(faces)
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
        scores, ids, time = _short(faces.scores), list_ids(faces), _seconds(frame)
        for box, score, number in zip(faces.bboxes, scores, ids, strict=True):
            rows.writerow([*start, *_short(box), score, time, number])  # None: empty
        self._append(text.getvalue())


class FileWriter:
    """Makes files for each input.

    Args:
        folder: Where to write; must exist.
        inputs: Files that must not be written to.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder
        self._names = OutputNames(folder, inputs)
        # One name per video, not per frame: memory does not grow with its length.
        self._video: Source | None = None
        self._folder = folder

    def _claim_folder(self, video: Source, name: PurePath) -> Path:
        """Return the folder for the frames of a video."""
        if video is not self._video:
            self._video, self._folder = video, self._names.claim(name, '.frames')
        return self._folder

    def end_input(self) -> list[Path]:
        """Finish the current input; return its files."""
        self.close()
        return self._names.take_claimed()

    def close(self) -> None:
        """Do nothing."""


class WIDERText(FileWriter):
    """``wider/<event>/<name>.txt``: WIDER FACE's official result files.

    Event and name are those of the image's folder and of the image; for a video
    ``<video>.frames`` and the frame's number. Rows are x, y, w, h, score with
    w = x2 - x1. A file appears when it is whole.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        super().__init__(folder / 'wider', inputs)

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
        folder = self._claim_folder(source, PurePath(source.name.name))
        path = folder / f'{frame.index:06}.txt'
        return path, f'{folder.name}/{path.stem}'


def _separate(texts: Iterable[str]) -> Iterator[str]:
    """Put commas and line ends between texts."""
    for i, text in enumerate(texts):
        yield f',\n{text}' if i else text


def _short(values: np.ndarray) -> list[float]:
    """Write float32 as the shortest decimals that give it back."""
    return [float(str(value)) for value in values.astype(np.float32)]


def _seconds(frame: Frame) -> float | None:
    return None if frame.time is None else round(frame.time, 6)


def list_ids(faces: FaceDetections) -> list[int | None]:
    """Return the id of each face, None where it has none."""
    ids = [-1] * len(faces) if faces.ids is None else faces.ids.tolist()
    return [None if number < 0 else number for number in ids]


#: By the names that ``--format`` takes.
FORMATS: dict[str, type[LineFile] | type[WIDERText]] = {
    'json': JsonLines,
    'csv': Csv,
    'wider': WIDERText,
    'coco': CocoJson,
}
