"""A run of the command: detects, draws, writes and counts."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from .face_detections import FaceDetections
from .face_detector import FaceDetector
from .frames import Frame
from .gaps import GapFiller
from .images import ImageError
from .journal import Journal
from .sources import Source
from .tracking import FaceTracker
from .writers import LineFile, Writer


@dataclass
class Run:
    """Detects, draws, writes and counts.

    Attributes:
        detector: The detector.
        writers: Each gets every image with what was found on it.
        args: The command line.
        bar: Progress.
        tracker: Numbers the faces of videos.
        journal: Where to note inputs that are done with; None: nowhere, as the results
            go to stdout.
    """

    detector: FaceDetector
    writers: Sequence[Writer]
    args: argparse.Namespace
    bar: tqdm
    tracker: FaceTracker | None = None
    journal: Journal | None = None
    images: int = 0
    faces: int = 0
    left_out: int = 0
    warnings: int = 0
    crowded: int = 0
    _crowded: Source | None = None
    _current: Source | None = None
    _problems: dict[Source, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gaps = GapFiller(self.args.every - 1)

    def __call__(self, window: list[Frame]) -> bool:
        """Process a few images; return whether there were any.

        No name keeps them while the next ones are read.
        """
        for pair in self._detect(window):
            self._write(self._gaps.push(*pair))
        return bool(window)

    def finish(self) -> None:
        """Write the frames that wait for the next detection."""
        self._write(self._gaps.flush())

    def _write(self, ready: Iterable[tuple[Frame, FaceDetections]]) -> None:
        for frame, faces in ready:
            if frame.source is not self._current:
                self.end_input()
                self._current = frame.source
            for writer in self.writers:
                writer.write(frame, faces)
            self.images += 1
            self.faces += len(faces)
            self.crowded += faces.limit_reached
            # A video is named once, not for each frame.
            if faces.limit_reached and frame.source is not self._crowded:
                self._crowded = frame.source
                self.warn(f'{frame.source}: as many faces as --max-faces allows')
            self.bar.update()

    def end_input(self) -> None:
        """Note that the current input is done with, if it can be read again."""
        source, self._current = self._current, None
        if self.journal is None or source is None or source.is_live:
            return
        files = [file for writer in self.writers for file in writer.end_input()]
        lengths = {
            writer.path.name: writer.length
            for writer in self.writers
            if isinstance(writer, LineFile)
        }
        self.journal.add(source, files, lengths, self._problems.pop(source, None))

    def leave_out(self, source: Source | None, message: str) -> None:
        """Count and name an input that cannot be used, or not to its end.

        ``source`` is None for a folder that cannot be read, and for an input of an
        earlier run.
        """
        if source is not None:
            self._problems[source] = message
        self.left_out += 1
        self.bar.update(source is not None and source.kind == 'image')
        self.bar.write(f'left out: {message}', file=sys.stderr)

    def warn(self, message: Warning | str, *_: object) -> None:
        """Show and count a warning; for ``warnings.showwarning``."""
        self.warnings += 1
        self.bar.write(f'warning: {message}', file=sys.stderr)

    def _detect(self, window: list[Frame]) -> list[tuple[Frame, FaceDetections]]:
        """Return frames and their faces; none in those that --every leaves out."""
        chosen = [frame for frame in window if not (frame.index or 0) % self.args.every]
        try:
            found = self.detector.detect(
                [frame.image for frame in chosen],
                batch_size=self.args.batch_size,
                max_size=self.args.max_size or None,
                multi_scale=self.args.multi_scale,
                tile=self.args.tile,
            )
        except ImageError as error:
            if len(window) > 1:  # it is one of them
                return [pair for frame in window for pair in self._detect([frame])]
            self.leave_out(window[0].source, f'{window[0].source}: {error}')
            return []
        faces = dict(zip(map(id, chosen), found, strict=True))
        return [(frame, self._number(frame, faces.get(id(frame)))) for frame in window]

    def _number(self, frame: Frame, faces: FaceDetections | None) -> FaceDetections:
        """Return the faces of a frame (None: not looked for), with ids if asked to."""
        if faces is not None:
            return faces if self.tracker is None else self.tracker(frame, faces)
        nothing = np.zeros((0, 4), np.float32)
        height, width = frame.image.shape[:2]
        ids = None if self.tracker is None else np.zeros(0, int)
        return FaceDetections(nothing, nothing[:, 0], width, height, ids=ids)
