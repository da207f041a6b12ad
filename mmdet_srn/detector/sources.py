"""Inputs of the command: files, folders, patterns, videos, webcams, streams."""

import errno
import glob
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath
from time import monotonic
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import cv2
import numpy as np

from .animations import animation_frames, open_animation
from .images import ImageError
from .stdin import MAX_PICTURE, is_picture, read_stdin, stdin_pipe
from .video_file import inspect_video

Kind: TypeAlias = Literal['image', 'video', 'webcam', 'stream', 'stdin']

#: Suffixes by which files are recognised, also in folders.
VIDEO_SUFFIXES = (
    *('.3g2', '.3gp', '.asf', '.avi', '.f4v', '.flv', '.m2ts', '.m4v', '.mkv', '.mov'),
    *('.mp4', '.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
)
#: Likewise. HEIC needs pillow-heif; without it an error says so.
IMAGE_SUFFIXES = (
    *('.avif', '.bmp', '.dib', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe'),
    *('.jpeg', '.jpg', '.pam', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.ras', '.sr'),
    *('.tif', '.tiff', '.webp'),
)
#: How the address of a stream begins.
PROTOCOLS = ('rtsp://', 'rtsps://', 'http://', 'https://')
#: Milliseconds to wait for a stream to open, and for each of its pictures.
STREAM_TIMEOUT = 15_000


@dataclass(frozen=True)
class Source:
    """One image, video, webcam, stream, or what comes through stdin.

    Attributes:
        kind: Which of them; an image may be an animation.
        location: The file, as the user wrote it; a webcam's number; a stream's address.
        name: For outputs: path without suffix, relative to the folder, or the fixed
            part of the pattern, that it was found through.
    """

    kind: Kind
    location: str
    name: PurePath

    def __str__(self) -> str:
        """Name it in messages and results; of a stream without its password."""
        if self.kind == 'webcam':
            return f'webcam {self.location}'
        if self.kind == 'stream':
            return re.sub('//[^/]*@', '//', self.location)
        return 'stdin' if self.kind == 'stdin' else self.location

    @property
    def is_live(self) -> bool:
        """Whether it cannot be read a second time."""
        return self.kind not in ('image', 'video')


@dataclass(frozen=True, eq=False)
class Frame:
    """An image of a source.

    Attributes:
        source: Where it comes from.
        image: uint8 (H, W, 3), BGR.
        index: Its number in a video, an animation, a stream or of a webcam, from 0;
            None for an image.
        fps: Frames per second, 0 if unknown.
        time: Of a video, an animation or a stream the seconds since its first frame, of
            a webcam those since it was opened; None for an image, or if unknown.
    """

    source: Source
    image: np.ndarray
    index: int | None = None
    fps: float = 0.0
    time: float | None = None


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
    """Find the images, videos, webcams and streams that a user names.

    Folders are searched recursively, and so are those that a pattern matches. Hidden
    files, links to folders and anything in ``outputs`` are skipped there.

    Args:
        inputs: Each a file, a folder, a pattern (``**`` for any folders), the number
            of a webcam, the address of a stream (:data:`PROTOCOLS`) or '-' for stdin.
            Any file without a video suffix is treated as an image.
        outputs: Folder of the results, also of earlier runs.
        skipped: Gets what is skipped in folders and patterns, except hidden files and
            ``outputs``.

    Returns:
        The sources in the order of ``inputs``, in a folder or pattern by name; each
        file once.

    Raises:
        FileNotFoundError: If nothing is found for one of ``inputs``.
        ValueError: If one is the address of a picture.
    """
    found: dict[str, Source] = {}
    skipped = Skipped() if skipped is None else skipped
    for text in inputs:
        path = Path(text)
        if not text:  # such as "$UNSET", which is not meant to be the working folder
            raise FileNotFoundError('no image or video found for an empty name')
        if text == '-' or text.lower().startswith(PROTOCOLS):
            found.setdefault(text, _live_source(text))
            continue
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
            kind: Kind = 'video' if _is_video(file) else 'image'
            found.setdefault(os.path.abspath(file), Source(kind, str(file), name))
    return list(found.values())


def frames(
    sources: Sequence[Source],
    read_image: Callable[[str | bytes], np.ndarray],
    report: Callable[[Source, str], None],
) -> Iterator[Frame]:
    """Read the images of all sources one after the other, none ahead.

    Args:
        sources: The sources.
        read_image: Reads an image from a file or its content, such as
            :meth:`.FaceDetector.read`.
        report: Called with a source that cannot be read, or not to its end, and a
            message that names it.

    Yields:
        At least one frame of each source that can be read.
    """
    for source in sources:
        if source.kind == 'image':
            yield from _image_frames(source, source.location, read_image, report)
        elif source.kind == 'stdin':
            yield from _stdin_frames(source, read_image, report)
        else:
            yield from _video_frames(source, *_open(source), report)


def count_frames(sources: Sequence[Source]) -> int | None:
    """Count the images that there will be; None if that is unknown."""
    total = 0
    for source in sources:
        if source.is_live:
            return None
        number = 1
        if source.kind == 'video':
            capture, _ = _open(source)
            number = _rate_and_number(capture)[1]
            if capture.isOpened() and not number:
                return None
        total += number
    return total


def _live_source(text: str) -> Source:
    """Return the source of '-' or of an address."""
    if text == '-':
        return Source('stdin', text, PurePath('stdin'))
    address = urlsplit(text)
    if PurePath(address.path).suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(
            f'{text} is the address of a picture, and only videos are read from one: '
            'download it, or send it: curl -L ADDRESS | python -m mmdet_srn -'
        )
    place = address.netloc.rpartition('@')[2] + address.path
    return Source('stream', text, PurePath(re.sub(r'\W+', '_', place).strip('_')))


def _open(source: Source) -> tuple[cv2.VideoCapture, str]:
    """Open a video, webcam or stream; also return what is wrong without a frame."""
    problem = 'cannot be opened, or none of its frames be read'
    if source.kind == 'webcam':
        return cv2.VideoCapture(int(source.location)), problem
    # OpenCV must not open these: it would crash, or wait for ever.
    if not is_utf8(source.location):
        problem = 'has a name that is not UTF-8, which OpenCV cannot open: rename it'
        return cv2.VideoCapture(), problem
    if source.kind == 'stream':
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
        problem += f' (waited for {STREAM_TIMEOUT / 1000:.0f} seconds at most)'
        return cv2.VideoCapture(source.location, cv2.CAP_FFMPEG, limits), problem
    if not os.path.isfile(source.location):
        return cv2.VideoCapture(), 'is not a file'
    # Absolute, so that no name is mistaken for a protocol's.
    capture = cv2.VideoCapture(os.path.abspath(source.location))
    # OpenCV 4.11 does not turn portrait videos by itself.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture, problem


def _rate_and_number(capture: cv2.VideoCapture) -> tuple[float, int]:
    """Return frames per second and about how many frames there are; 0 if unknown."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    number = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # NaN and nonsense where a container does not say.
    return fps if 0 < fps < 1000 else 0.0, int(number) if 0 < number < 2**31 else 0


def is_utf8(path: str | Path) -> bool:
    """Whether OpenCV can be given a path; it crashes with others."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _image_frames(
    source: Source,
    content: str | bytes,
    read_image: Callable[[str | bytes], np.ndarray],
    report: Callable[[Source, str], None],
) -> Iterator[Frame]:
    """Read an image, or the frames of an animation, from its file or its bytes."""
    try:
        animation = open_animation(content)
        if animation is None:
            yield Frame(source, read_image(content))
            return
    except (OSError, ImageError) as error:
        report(source, str(error))
        return
    index, time = -1, 0.0
    try:
        for index, (image, seconds) in enumerate(animation_frames(animation)):
            yield Frame(source, image, index, 1 / seconds if seconds else 0.0, time)
            time += seconds
            del image
    except ImageError as error:
        report(source, f'{source} is damaged after {index + 1} frames ({error})')


def _stdin_frames(
    source: Source,
    read_image: Callable[[str | bytes], np.ndarray],
    report: Callable[[Source, str], None],
) -> Iterator[Frame]:
    """Read the picture or the video that comes through stdin."""
    start = read_stdin(12)
    if is_picture(start):
        content = start + read_stdin(MAX_PICTURE)
        if len(content) > MAX_PICTURE:
            report(source, f'stdin: more than {MAX_PICTURE} bytes are no picture')
            return
        yield from _image_frames(source, content, read_image, report)
        return
    problem = (
        'is neither a picture nor a video that can be read as it comes, such as '
        'Matroska or MPEG-TS (ffmpeg -i INPUT -f matroska - | ..)'
    )
    with stdin_pipe(start) as pipe:
        capture = cv2.VideoCapture(pipe, cv2.CAP_FFMPEG)
        yield from _video_frames(source, capture, problem, report)
        capture.release()


def _video_frames(
    source: Source,
    capture: cv2.VideoCapture,
    problem: str,
    report: Callable[[Source, str], None],
) -> Iterator[Frame]:
    fps, number = _rate_and_number(capture)
    read, end, opened = 0, 0.0, monotonic()
    while capture.isOpened() and (image := capture.read()[1]) is not None:
        start = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        end = start + 1 / fps if start > 0 and fps else 0.0  # of the frame, in seconds
        if source.kind == 'webcam':
            time: float | None = monotonic() - opened
        elif start > 0 or not read:
            time = max(start, 0.0)
        else:  # the container does not say
            time = read / fps if fps else None
        frame = Frame(source, image, read, fps, time)
        del image  # no name keeps an image here while the next one is read
        read += 1
        yield frame
        del frame
    if not read:
        report(source, f'{source} {problem}')
    elif source.kind == 'video':
        _check_end(source, read, end, fps, number, report)
    elif source.kind == 'stream' and read < 0.95 * (number or math.inf):
        of = f' of about {number}' if number else ''
        report(source, f'{source} ended or was lost after {read}{of} frames')


def _check_end(
    source: Source,
    read: int,
    end: float,
    fps: float,
    number: int,
    report: Callable[[Source, str], None],
) -> None:
    """Report a video that is truncated or damaged.

    ``read`` frames were read, the last of which ends after ``end`` seconds (0:
    unknown). ``fps`` and ``number`` are what the container says.
    """
    try:
        missing, counted = inspect_video(source.location)
    except OSError as error:
        report(source, f'{source}, after {read} frames: {error.strerror}')
        return
    if counted and number:  # an index at the end may be what is missing
        if read < (number if missing > 0 else 0.95 * number):
            report(source, f'{source} ended after {read} of about {number} frames')
    elif missing > 0:
        report(source, f'{source} is cut off: {read} frames, {missing} bytes missing')
    elif end and number:
        # The longest stream's: not known to be the picture's.
        duration = number / fps
        if duration - end > max(1, 0.05 * duration):
            warnings.warn(
                f'{source}: the picture ends at {end:.1f} of {duration:.1f} seconds; '
                'either the sound is longer, or it is damaged',
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
    folders = PurePath(pattern).parts[:-1]
    return Path(*takewhile(lambda part: not glob.has_magic(part), folders))


def _is_video(path: str | Path) -> bool:
    return PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def _is_known(path: str | Path) -> bool:
    return _is_video(path) or PurePath(path).suffix.lower() in IMAGE_SUFFIXES
