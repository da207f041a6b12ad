"""Inputs of the command: files, folders, patterns, videos, webcams."""

import errno
import glob
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

import cv2
import numpy as np

from .images import ImageError
from .video_file import inspect_video

#: Suffixes by which files are recognised, also in folders.
VIDEO_SUFFIXES = (
    *('.3g2', '.3gp', '.asf', '.avi', '.f4v', '.flv', '.m2ts', '.m4v', '.mkv', '.mov'),
    *('.mp4', '.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
)
#: Likewise; HEIC needs pillow-heif, and says so without it.
IMAGE_SUFFIXES = (
    *('.avif', '.bmp', '.dib', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe'),
    *('.jpeg', '.jpg', '.pam', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.ras', '.sr'),
    *('.tif', '.tiff', '.webp'),
)


@dataclass(frozen=True)
class Source:
    """One image, video or webcam.

    Attributes:
        kind: Which of them.
        location: The file, as the user wrote it; of a webcam its number.
        name: For outputs: path without suffix, relative to the folder, or the fixed
            part of the pattern, that it was found through.
    """

    kind: Literal['image', 'video', 'webcam']
    location: str
    name: PurePath

    def __str__(self) -> str:
        """Name it in messages."""
        return f'webcam {self.location}' if self.kind == 'webcam' else self.location


@dataclass(frozen=True, eq=False)
class Frame:
    """An image of a source.

    Attributes:
        source: Where it comes from.
        image: uint8 (H, W, 3), BGR.
        index: Its number in a video or of a webcam, from 0; None for an image.
        fps: Frames per second of a video, 0 if unknown.
    """

    source: Source
    image: np.ndarray
    index: int | None = None
    fps: float = 0.0


@dataclass
class Skipped:
    """What a search skips.

    Attributes:
        unreadable: A message for each folder that cannot be read.
        files: Number of files of each suffix that is not an image's or a video's, and
            of links to folders.
    """

    unreadable: list[str] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """List the files, the most frequent suffix first."""
        parts = [f'{number} {kind}' for kind, number in self.files.most_common(8)]
        rest = self.files.total() - sum(n for _, n in self.files.most_common(8))
        return ', '.join(parts + ([f'{rest} others'] if rest else []))

    def add_folder(self, error: OSError) -> None:
        """Note a folder that cannot be read."""
        self.unreadable.append(f'{error.filename}: {error.strerror}')

    def add_file(self, path: str | Path) -> None:
        """Count a file."""
        self.files[PurePath(path).suffix.lower() or 'without suffix'] += 1


def find_sources(
    inputs: Sequence[str], outputs: Path, skipped: Skipped | None = None
) -> list[Source]:
    """Find the images, videos and webcams that a user names.

    Folders are searched recursively, and so are those that a pattern matches. Hidden
    files, links to folders and anything in ``outputs`` are skipped there.

    Args:
        inputs: Each a file, a folder, a pattern (``**`` for any folders) or the number
            of a webcam. Any file without a video suffix is treated as an image.
        outputs: Folder of the results, also of earlier runs.
        skipped: Gets what is skipped in folders and patterns, except hidden files and
            ``outputs``.

    Returns:
        The sources in the order of ``inputs``, in a folder or pattern by name; each
        file once.

    Raises:
        FileNotFoundError: If nothing is found for one of ``inputs``.
    """
    found: dict[str, Source] = {}
    skipped = Skipped() if skipped is None else skipped
    for text in inputs:
        path = Path(text)
        if not text:  # such as "$UNSET", which is not meant to be the working folder
            raise FileNotFoundError('no image or video found for an empty name')
        if path.is_dir():
            files = list(_walk(path, outputs, skipped))
            root = path
        elif path.exists():
            files, root = [path], path.parent
        elif text.isdecimal():
            source = Source('webcam', str(int(text)), PurePath(f'webcam_{int(text)}'))
            found.setdefault(str(source), source)
            continue
        else:
            files, root = list(_match(text, outputs, skipped)), _fixed_part(text)
        if not files:
            raise FileNotFoundError(
                f'no image or video found for {text!r}'
                + (' (what lies in --out is skipped)' if path.is_dir() else '')
                + (f'; skipped: {skipped}' if skipped.files else '')
                + ''.join(f'; {message}' for message in skipped.unreadable)
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
    """Read the images of all sources one after the other, none ahead.

    Args:
        sources: The sources.
        read_image: Reads an image file, such as :meth:`.FaceDetector.read`.
        report: Called with a source that cannot be read, or not to its end, and a
            message that names it.

    Yields:
        At least one frame of each source that can be read.
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
    """Count the images that there will be; None if that is unknown."""
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
    """OpenCV's capture of a video or webcam.

    Attributes:
        is_open: Whether it can be read.
        problem: Why not, if known.
        fps: Frames per second, 0 if unknown.
        number: Approximate number of frames of a video, if its container says.
        seconds: When the last frame that was read ends, 0 if unknown.
    """

    def __init__(self, source: Source) -> None:
        self.problem: str | None = None
        if source.kind == 'webcam':
            self._capture = cv2.VideoCapture(int(source.location))
        # OpenCV must not open these: it would crash, or wait for ever.
        elif not is_utf8(source.location):
            self._capture = cv2.VideoCapture()
            self.problem = (
                'has a name that is not UTF-8, which OpenCV cannot open: rename it'
            )
        elif not os.path.isfile(source.location):
            self._capture = cv2.VideoCapture()
            self.problem = 'is not a file'
        else:
            # Absolute, so that no name is mistaken for a protocol's.
            self._capture = cv2.VideoCapture(os.path.abspath(source.location))
            # OpenCV 4.11 does not turn portrait videos by itself.
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self.is_open = self._capture.isOpened()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else 0.0  # NaN and nonsense too
        number = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Nonsense where a container does not say.
        video = source.kind == 'video' and 0 < number < 2**31
        self.number = int(number) if video else None
        self.seconds = 0.0

    def read(self) -> np.ndarray | None:
        image = self._capture.read()[1]
        if image is not None and self.number is not None and self.fps:
            start = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            self.seconds = start + 1 / self.fps if start > 0 else 0.0
        return image

    def close(self) -> None:
        self._capture.release()


def is_utf8(path: str | Path) -> bool:
    """Whether OpenCV can be given a path; it crashes with others."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _video_frames(
    source: Source, report: Callable[[Source, str], None]
) -> Iterator[Frame]:
    with closing(_Capture(source)) as capture:
        index = 0
        while capture.is_open and (image := capture.read()) is not None:
            frame = Frame(source, image, index, capture.fps)
            del image  # no name keeps an image here while the next one is read
            index += 1
            yield frame
            del frame
    if not index:
        problem = 'cannot be opened, or none of its frames be read'
        report(source, f'{source} {capture.problem or problem}')
    elif source.kind == 'video':
        _check_end(source, capture, index, report)


def _check_end(
    source: Source, capture: _Capture, read: int, report: Callable[[Source, str], None]
) -> None:
    """Report a video that is truncated or damaged."""
    try:
        missing, counted = inspect_video(source.location)
    except OSError as error:
        report(source, f'{source}, after {read} frames: {error.strerror}')
        return
    number = capture.number
    if counted and number is not None:  # an index at the end may be what is missing
        if read < (number if missing > 0 else 0.95 * number):
            report(source, f'{source} ended after {read} of about {number} frames')
    elif missing > 0:
        report(source, f'{source} is cut off: {read} frames, {missing} bytes missing')
    elif capture.seconds and number is not None:
        # The longest stream's: not known to be the picture's.
        duration = number / capture.fps
        if duration - capture.seconds > max(1, 0.05 * duration):
            warnings.warn(
                f'{source}: the picture ends at {capture.seconds:.1f} of '
                f'{duration:.1f} seconds; either the sound is longer, or it is damaged',
                stacklevel=2,
            )


def _walk(folder: Path, outputs: Path, skipped: Skipped) -> Iterator[Path]:
    ignored = os.path.realpath(outputs)
    for place, folders, files in os.walk(folder, onerror=skipped.add_folder):
        if _lies_in(place, ignored):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        links = sum(os.path.islink(os.path.join(place, name)) for name in folders)
        skipped.files += Counter({'links to folders': links})
        for name in sorted(files):
            if name.startswith('.'):
                continue
            if _is_known(name):
                yield Path(place, name)
            else:
                skipped.add_file(name)


def _match(pattern: str, outputs: Path, skipped: Skipped) -> Iterator[Path]:
    ignored = os.path.realpath(outputs)
    suffix = PurePath(pattern).suffix
    any_suffix = suffix and not glob.has_magic(suffix)  # *.raw: the user knows
    for text in sorted(glob.iglob(pattern, recursive=True)):
        path = Path(text)
        if path.is_dir():
            yield from _walk(path, outputs, skipped)
        elif _lies_in(path, ignored):
            continue
        elif any_suffix or _is_known(text):
            yield path
        else:
            skipped.add_file(path)
    # glob skips unreadable folders silently.
    while glob.has_magic(pattern):
        pattern = os.path.dirname(pattern)
        for folder in glob.glob(os.path.join(pattern, ''), recursive=True):
            if not os.access(folder, os.R_OK | os.X_OK):
                error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
                skipped.add_folder(error)


def _lies_in(path: str | Path, folder: str) -> bool:
    """Whether a path is a folder, given without links, or lies in it."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    parts = PurePath(pattern).parts
    fixed = 0
    while fixed < len(parts) - 1 and not glob.has_magic(parts[fixed]):
        fixed += 1
    return Path(*parts[:fixed])


def _is_video(path: str | Path) -> bool:
    return PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def _is_known(path: str | Path) -> bool:
    return _is_video(path) or PurePath(path).suffix.lower() in IMAGE_SUFFIXES
