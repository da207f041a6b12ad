"""What the page of tools/webdemo.py shows of a picture; no Gradio in here."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, UnidentifiedImageError

from .drawn_files import DrawnFiles
from .face_detections import FaceDetections
from .face_detector import FaceDetector
from .images import ImageError
from .result_files import Csv, JsonLines, ResultFile
from .sources import Frame, Source

#: What a picture may have once decoded, our choice: 300 MB. A file of a few
#: kilobytes can hold far more.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, eq=False)
class Finding:
    """What the detector found on a picture, before any threshold of the page.

    Attributes:
        picture: The file.
        faces: Its faces, best first.
        seconds: What the detector took, without reading the file.
        multi_scale: Whether that was the multi-scale test.
    """

    picture: Path
    faces: FaceDetections
    seconds: float
    multi_scale: bool


@dataclass(frozen=True, eq=False)
class Shown:
    """Files and figures of a picture at one threshold.

    Attributes:
        faces: The faces of that score or more, best first.
        drawn: JPEG file with their boxes.
        json: File ``faces.jsonl``, as ``tools/detect.py`` writes it.
        csv: File ``faces.csv``, likewise.
    """

    faces: FaceDetections
    drawn: Path
    json: Path
    csv: Path

    def rows(self) -> list[list[float]]:
        """A row a face: number from 1, score, x1, y1, x2, y2 in pixels."""
        boxes = np.round(self.faces.bboxes.astype(np.float64), 1).tolist()
        scores = np.round(self.faces.scores.astype(np.float64), 3).tolist()
        return [
            [number, score, *box]
            for number, (score, box) in enumerate(zip(scores, boxes, strict=True), 1)
        ]

    def remove(self) -> None:
        """Deletes the files."""
        shutil.rmtree(self.drawn.parent, ignore_errors=True)


class WebResults:
    """Detects once a picture, and shows what was found at any threshold.

    Args:
        detector: The detector; its ``score_thr`` is the least threshold there is.
        folder: Folder of the files to show, each picture's in one of its own.
        max_size: Longest side for the detector in pixels; None: any. Boxes are in
            pixels of the picture as given nevertheless. Defaults to 2048, as in
            ``tools/detect.py``.
        max_pixels: Pictures of more pixels are refused before they are decoded, by
            what Pillow reads in their head. OpenCV may read something else there, so
            ``tools/webdemo.py`` limits it as well, with OPENCV_IO_MAX_IMAGE_PIXELS.
            Defaults to :data:`MAX_PIXELS`.
    """

    def __init__(
        self,
        detector: FaceDetector,
        folder: Path,
        max_size: int | None = 2048,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.detector = detector
        self.folder = folder
        self.max_size = max_size
        self.max_pixels = max_pixels

    def detect(self, picture: Path, multi_scale: bool = False) -> Finding:
        """Runs the detector.

        Args:
            picture: The file.
            multi_scale: Whether to run the config's multi-scale test. Defaults to
                False.

        Returns:
            What was found.

        Raises:
            ImageError: If the file is no picture that can be used. The message names
                it without its folder, which is none of a visitor's business.
        """
        image = self._read(picture)
        start = time.perf_counter()
        try:
            faces = self.detector.detect(
                image, max_size=self.max_size, multi_scale=multi_scale
            )
        except ImageError as error:
            raise ImageError(f'{picture.name}: {error}') from error
        return Finding(picture, faces, time.perf_counter() - start, multi_scale)

    def show(self, finding: Finding, threshold: float) -> Shown:
        """Draws and writes down the faces of some score; the network does not run.

        Args:
            finding: What was found.
            threshold: Least score.

        Returns:
            The faces and their files, in a new folder.

        Raises:
            ImageError: If the picture is no longer there.
        """
        frame = Frame(
            # Named as the visitor knows it.
            Source('image', finding.picture.name, PurePath(finding.picture.stem)),
            self._read(finding.picture),
        )
        faces = at_least(finding.faces, threshold)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        makers: tuple[Callable[[Path], ResultFile], ...] = (JsonLines, Csv, DrawnFiles)
        for make in makers:
            with closing(make(folder)) as file:
                file.write(frame, faces)
        (drawn,) = folder.glob('*_faces.jpg')
        return Shown(faces, drawn, folder / 'faces.jsonl', folder / 'faces.csv')

    def _read(self, picture: Path) -> np.ndarray:
        try:
            self._check_size(picture)
            return self.detector.read(picture)
        except FileNotFoundError as error:
            raise ImageError(
                f'{picture.name} is no longer kept here: drop it once more'
            ) from error
        except (OSError, ImageError) as error:
            text = str(error).replace(str(picture), picture.name)
            raise ImageError(text) from error

    def _check_size(self, picture: Path) -> None:
        """Reads no more than the file's head."""
        try:
            with Image.open(picture) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:  # Pillow's own limit
            raise ImageError(f'{picture.name} has too many pixels') from error
        except (UnidentifiedImageError, ValueError) as error:
            message = f'{picture.name} is no picture, or a damaged one'
            raise ImageError(message) from error
        if width * height > self.max_pixels:
            raise ImageError(
                f'{picture.name} has {width} × {height} pixels, more than '
                f'{self.max_pixels / 1e6:.0f} million'
            )


def at_least(faces: FaceDetections, threshold: float) -> FaceDetections:
    """The faces of some score or more.

    Args:
        faces: Faces, best first.
        threshold: Least score.

    Returns:
        The first of them, possibly none.
    """
    number = int(np.count_nonzero(faces.scores >= threshold))
    return replace(
        faces,
        bboxes=faces.bboxes[:number],
        scores=faces.scores[:number],
        limit_reached=faces.limit_reached and number == len(faces),
    )
