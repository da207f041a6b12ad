"""What to look for faces in: files, folders, patterns, videos, webcams."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import cv2
import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from .images import ImageError

#: By their suffix files are told apart, and found in folders.
VIDEO_SUFFIXES = (
    *('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.ts'),
    *('.webm', '.wmv'),
)


@dataclass(frozen=True)
class Source:
    """One image, video or webcam.

    Attributes:
        kind: Which of them.
        location: The file, as the user wrote it; of a webcam its number.
        name: For outputs: path without suffix, relative to the folder or to the fixed
            part of the pattern that it was found through.
    """

    kind: Literal['image', 'video', 'webcam']
    location: str
    name: PurePath

    def __str__(self) -> str:
        """For messages."""
        return f'webcam {self.location}' if self.kind == 'webcam' else self.location


@dataclass(frozen=True, eq=False)
class Frame:
    """An image of a source.

    Attributes:
        source: Where it comes from.
        image: Uint8 (H, W, 3), BGR.
        index: Its number in a video or of a webcam, from 0; None of an image.
        fps: Frames a second of a video, 0 where that is not known.
    """

    source: Source
    image: np.ndarray
    index: int | None = None
    fps: float = 0.0


def find_sources(inputs: Sequence[str], outputs: Path) -> list[Source]:
    """Finds the images, videos and webcams that a user names.

    Folders are searched with all below them, and so are those that a pattern matches.
    Hidden files, links to folders and what lies in ``outputs`` are passed over there.

    Args:
        inputs: Each a file, a folder, a pattern (``**`` for any folders) or the number
            of a webcam. A file is taken for an image if its suffix is none of a video.
        outputs: Folder of the results, from earlier runs too.

    Returns:
        The sources in the order of ``inputs``, in a folder or pattern by name; each
        file once.

    Raises:
        FileNotFoundError: If there is nothing for one of ``inputs``.
    """
    found: dict[str, Source] = {}
    for text in inputs:
        path = Path(text)
        if not text:  # such as "$UNSET", which is not meant to be the working folder
            raise FileNotFoundError('no image or video found for an empty name')
        if path.is_dir():
            files = list(_walk(path, outputs))
            root = path
        elif path.exists():
            files, root = [path], path.parent
        elif text.isdecimal():
            source = Source('webcam', str(int(text)), PurePath(f'webcam_{int(text)}'))
            found.setdefault(str(source), source)
            continue
        else:
            files, root = list(_match(text, outputs)), _fixed_part(text)
        if not files:
            raise FileNotFoundError(
                f'no image or video found for {text!r}'
                + (' (what lies in --out is passed over)' if path.is_dir() else '')
            )
        for file in files:
            name = PurePath(os.path.relpath(file, root)).with_suffix('')
            kind: Literal['image', 'video'] = 'video' if _is_video(file) else 'image'
            found.setdefault(os.path.abspath(file), Source(kind, str(file), name))
    return list(found.values())


def frames(
    sources: Sequence[Source],
    read_image: Callable[[str], np.ndarray],
    report: Callable[[Source, str], None],
) -> Iterator[Frame]:
    """Reads the images of all sources one after the other, none ahead.

    Args:
        sources: The sources.
        read_image: Reads an image file, as :meth:`.FaceDetector.read`.
        report: Called with a source that cannot be read, or not to its end, and a
            message that names it.

    Yields:
        Frame: Of each source that can be read one or more.
    """
    for source in sources:
        if source.kind != 'image':
            yield from _video_frames(source, report)
            continue
        try:
            yield Frame(source, read_image(source.location))
        except (OSError, ImageError) as error:
            report(source, str(error))


def count_frames(sources: Sequence[Source]) -> int | None:
    """How many images there will be, or None if that is not known."""
    total = 0
    for source in sources:
        number = 1
        if source.kind == 'webcam':
            return None
        if source.kind == 'video':
            with closing(_Capture(source)) as capture:
                if capture.is_open and capture.number is None:
                    return None
                number = capture.number or 0
        total += number
    return total


class _Capture:
    """OpenCV's capture of a video or webcam."""

    def __init__(self, source: Source) -> None:
        webcam = source.kind == 'webcam'
        self._capture = cv2.VideoCapture(
            int(source.location) if webcam else source.location
        )
        self.is_open = self._capture.isOpened()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 0.0  # NaN and nonsense too
        number = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # An estimate; nonsense where a container does not say.
        self.number = int(number) if 0 < number < 2**31 and not webcam else None

    def read(self) -> np.ndarray | None:
        return self._capture.read()[1]

    def close(self) -> None:
        self._capture.release()


def _video_frames(
    source: Source, report: Callable[[Source, str], None]
) -> Iterator[Frame]:
    with closing(_Capture(source)) as capture:
        index = 0
        # No name keeps an image here while the next one is read.
        while (frame := _next_frame(source, capture, index)) is not None:
            index += 1
            yield frame
            del frame
        number = capture.number
    if not index:
        report(source, f'{source} cannot be opened, or none of its frames be read')
    elif number is not None and index < 0.95 * number:  # the number is an estimate
        report(source, f'{source} ended after {index} of about {number} frames')


def _next_frame(source: Source, capture: _Capture, index: int) -> Frame | None:
    image = capture.read() if capture.is_open else None
    return None if image is None else Frame(source, image, index, capture.fps)


def _walk(folder: Path, outputs: Path) -> Iterator[Path]:
    outputs = outputs.resolve()
    for place, folders, files in os.walk(folder):
        if outputs in (Path(place).resolve(), *Path(place).resolve().parents):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(files):
            if not name.startswith('.') and _is_known(name):
                yield Path(place, name)


def _match(pattern: str, outputs: Path) -> Iterator[Path]:
    outputs = outputs.resolve()
    suffix = PurePath(pattern).suffix
    any_suffix = suffix and not glob.has_magic(suffix)  # *.jfif: the user knows
    for text in sorted(glob.iglob(pattern, recursive=True)):
        path = Path(text)
        if path.is_dir():
            yield from _walk(path, outputs)
        elif outputs not in path.resolve().parents and (any_suffix or _is_known(text)):
            yield path


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = PurePath(pattern).parts
    fixed = 0
    while fixed < len(parts) - 1 and not glob.has_magic(parts[fixed]):
        fixed += 1
    return Path(*parts[:fixed])


def _is_video(path: str | Path) -> bool:
    return PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def _is_known(path: str | Path) -> bool:
    return _is_video(path) or PurePath(path).suffix.lower() in IMG_EXTENSIONS
