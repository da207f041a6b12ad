"""The images of the command's inputs, one after the other, none ahead."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import cv2
import numpy as np

from .animations import animation_frames, open_animation
from .images import ImageError
from .sources import Source
from .stdin import MAX_PICTURE, is_picture, read_stdin, stdin_pipe
from .video_file import inspect_video

#: Milliseconds to wait for a stream to open, and for each of its pictures.
STREAM_TIMEOUT = 15_000


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
    # So that no name is mistaken for a protocol's. Not absolute: the working folder's
    # name may not be UTF-8.
    capture = cv2.VideoCapture(os.path.join('.', source.location))
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
