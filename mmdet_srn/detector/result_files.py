"""Result files, written image by image: what is finished stays, whatever happens."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np

from mmdet_srn.evaluation.wider_face_results import write_results

from .face_detections import FaceDetections
from .output_names import OutputNames
from .sources import Frame, Source

CSV_HEADER = ('image', 'frame', 'width', 'height', 'x1', 'y1', 'x2', 'y2', 'score')


class ResultFile(Protocol):
    """Gets what was found on one image after the other."""

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Writes what was found on an image."""

    def close(self) -> None:
        """Ends the file."""


class JsonLines:
    """``faces.jsonl``: a JSON object a line, one line an image.

    Keys: ``image`` (file, or 'webcam 0'), ``frame`` (number from 0, in videos and of
    webcams only), ``width``, ``height``, ``bboxes`` ([[x1, y1, x2, y2], ..] in
    pixels), ``scores``. Best first; the numbers give the float32 back.

    Lines are appended whole, so the file holds every finished image even if the
    process is killed.

    Args:
        folder: Folder of the file; an older file is replaced.
        inputs: Files that must not be written to. Defaults to none.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = OutputNames(folder, inputs).claim(PurePath('faces'), '.jsonl')
        self._file = self.path.open('wb', buffering=0)

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Appends a line."""
        record: dict[str, Any] = dict(image=str(frame.source))
        if frame.index is not None:
            record['frame'] = frame.index
        record |= dict(
            width=faces.width,
            height=faces.height,
            bboxes=[_short(box) for box in faces.bboxes],
            scores=_short(faces.scores),
        )
        self._file.write(f'{json.dumps(record)}\n'.encode())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Csv:
    """``faces.csv``: one row a face; images without a face have none.

    Columns: :data:`CSV_HEADER`, box corners in pixels; ``frame`` is empty for images.
    The rows of an image are appended in one piece.

    Args:
        folder: Folder of the file; an older file is replaced.
        inputs: Files that must not be written to. Defaults to none.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = OutputNames(folder, inputs).claim(PurePath('faces'), '.csv')
        self._file = self.path.open('wb', buffering=0)
        self._append([CSV_HEADER])

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Appends the rows of an image."""
        index = '' if frame.index is None else frame.index
        start = (str(frame.source), index, faces.width, faces.height)
        self._append(
            [
                (*start, *_short(box), score)
                for box, score in zip(faces.bboxes, _short(faces.scores), strict=True)
            ]
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, rows: list[tuple]) -> None:
        text = io.StringIO(newline='')
        csv.writer(text, lineterminator='\n').writerows(rows)
        # Names that are no UTF-8 keep their bytes.
        self._file.write(text.getvalue().encode('utf-8', 'surrogateescape'))


class WIDERText:
    """``wider/<event>/<name>.txt``: WIDER FACE's official result files.

    Event and name are the image's folder and the image's name; for a video
    ``<video>.frames`` and the frame's number. Rows are x, y, w, h, score with
    w = x2 - x1. A file appears when it is whole.

    Args:
        folder: Folder that gets the folder ``wider``.
        inputs: Files that must not be written to. Defaults to none.
    """

    def __init__(self, folder: Path, inputs: Sequence[str] = ()) -> None:
        self.path = folder / 'wider'
        self._names = OutputNames(self.path, inputs)
        # One name a video, not one a frame: memory does not grow with its length.
        self._video: Source | None = None
        self._folder = self.path

    def write(self, frame: Frame, faces: FaceDetections) -> None:
        """Writes the file of an image."""
        path, title = self._place(frame)
        x1, y1, x2, y2 = faces.bboxes.astype(np.float64).T
        scores = faces.scores.astype(np.float64)
        rows = np.stack((x1, y1, x2 - x1, y2 - y1, scores), axis=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.', dir=self.path) as scratch:
            write_results(scratch, [('event/name', title, rows)])
            os.replace(Path(scratch, 'event', 'name.txt'), path)

    def close(self) -> None:
        """Does nothing."""

    def _place(self, frame: Frame) -> tuple[Path, str]:
        """The file, and the line that names the image in it."""
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


#: By the names that ``tools/detect.py --format`` takes.
FORMATS = {'json': JsonLines, 'csv': Csv, 'wider': WIDERText}


def _short(values: np.ndarray) -> list[float]:
    """Float32 as the shortest decimals that give it back."""
    return [float(str(value)) for value in values.astype(np.float32)]
