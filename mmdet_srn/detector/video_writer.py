"""Writes videos: with PyAV at their own times and with their sound, else plainly."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import warn

import cv2
import numpy as np

from .frames import Frame, is_utf8
from .sources import Source

if TYPE_CHECKING:
    from av import Packet

DEFAULT_FPS = 25.0  # of a webcam, or a video that does not say
MILLISECOND = Fraction(1, 1000)  # in which Matroska counts
MAX_SIDE = 8190  # MPEG-4's limit in FFmpeg
# Seconds of sound kept before the picture. Decoders need some for what follows: of Opus
# 80 ms (RFC 7845), of AAC a packet (128 ms at 8 kHz).
PRE_ROLL = Fraction(1, 4)


def open_video(path: Path, frame: Frame) -> 'PlainVideo | TimedVideo':
    """Open a video of the size and rate of its first frame, which is not written yet.

    Matroska with MPEG-4: unlike an .mp4 file without its end, it can be played even if
    the process is killed. Frames of another size, odd sides and sides above
    :data:`MAX_SIDE` are resized.

    Raises:
        OSError: If it cannot be written.
    """
    if not is_utf8(path):
        raise OSError(f'{path} is not UTF-8: no video can be written there')
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frame.image.shape[:2]
    scale = min(1, MAX_SIDE / max(width, height))
    width, height = (max(round(scale * n) // 2 * 2, 2) for n in (width, height))
    try:
        import av  # noqa: F401
    except ImportError:
        warn(
            f'{path} is written at a constant rate and without sound, as PyAV is '
            'missing: pip install "mmdet_srn[video]"',
            stacklevel=2,
        )
        return PlainVideo(path, frame, (width, height))
    return TimedVideo(path, frame, (width, height))


class PlainVideo:
    """A video at a constant rate and without sound, written by OpenCV."""

    def __init__(self, path: Path, frame: Frame, size: tuple[int, int]) -> None:
        self._size = size
        fourcc = cv2.VideoWriter.fourcc(*'mp4v')
        fps = frame.fps or DEFAULT_FPS
        self._video = cv2.VideoWriter(str(path), fourcc, fps, size)
        if not self._video.isOpened():
            raise OSError(f'OpenCV cannot write the video {path}')

    def write(self, image: np.ndarray, time: float | None) -> None:
        """Write a frame; its time is ignored."""
        self._video.write(cv2.resize(image, self._size))

    def close(self) -> None:
        """Finish it."""
        self._video.release()


class TimedVideo:
    """A video with the times and the sound of its source, written by PyAV.

    The packets of the sound are copied, from :data:`PRE_ROLL` before the picture to its
    end. Nothing else is: no metadata, no cover picture, no subtitles.
    """

    def __init__(self, path: Path, frame: Frame, size: tuple[int, int]) -> None:
        import av

        self._av, self._size = av, size
        self._step = 1000 / (frame.fps or DEFAULT_FPS)
        self._start, self._end = -1, 0.0  # of the last frame, in milliseconds
        self._path = path
        with self._report():
            self._open(frame.source)

    @contextmanager
    def _report(self) -> Iterator[None]:
        try:
            yield
        except self._av.FFmpegError as error:
            raise OSError(f'cannot write the video {self._path} ({error})') from error

    def _open(self, source: Source) -> None:
        # Small clusters, each at once on the disk.
        options = dict(cluster_time_limit='500', flush_packets='1')
        self._file = self._av.open(
            str(self._path), 'w', format='matroska', options=options
        )
        rate = Fraction(1000 / self._step).limit_denominator(1001)
        # Bounds of the quantiser: a good picture of any size.
        self._video = self._file.add_stream('mpeg4', rate, dict(qmin='2', qmax='5'))
        self._video.width, self._video.height = self._size
        self._video.pix_fmt = 'yuv420p'
        self._video.codec_context.time_base = MILLISECOND
        is_file = source.kind == 'video'
        self._sound = self._read_sound(source.location) if is_file else iter(())
        self._packet = next(self._sound, None)
        self._file.start_encoding()

    def write(self, image: np.ndarray, time: float | None) -> None:
        """Write a frame.

        Args:
            image: uint8 (H, W, 3), BGR.
            time: In seconds; None: after the frame before.
        """
        start = round(self._end if time is None else 1000 * time)
        self._start = max(start, self._start + 1)
        self._end = self._start + self._step
        # OpenCV's conversion: PyAV's makes pictures darker.
        image = cv2.cvtColor(cv2.resize(image, self._size), cv2.COLOR_BGR2YUV_I420)
        frame = self._av.VideoFrame.from_ndarray(image, format='yuv420p')
        frame.pts, frame.time_base = self._start, MILLISECOND
        with self._report():
            self._file.mux(self._video.encode(frame))
            while self._packet is not None and self._packet[0] * 1000 < self._end:
                self._file.mux(self._packet[1])
                self._packet = next(self._sound, None)

    def close(self) -> None:
        """Finish it."""
        with self._report():
            self._file.mux(self._video.encode(None))
            self._file.close()
        self._sound = iter(())  # closes the source

    def _read_sound(self, location: str) -> 'Iterator[tuple[Fraction, Packet]]':
        """Add streams for the sound of a file; yield its packets and their times."""
        try:
            with self._av.open(os.path.abspath(location)) as source:
                sounds = source.streams.audio
                add = self._file.add_stream_from_template
                copies = {sound.index: add(sound) for sound in sounds}
                # OpenCV's times begin with the picture.
                picture = source.streams.best('video')
                begin = (picture.start_time or 0) * picture.time_base
                ends = {s.index: round(-PRE_ROLL / s.time_base) for s in sounds}
                for packet in source.demux(sounds) if copies else ():
                    if packet.dts is None or packet.pts is None:
                        continue  # the end
                    shift, index = round(begin / packet.time_base), packet.stream.index
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    # A damaged file's may go back.
                    if packet.dts > ends[index]:
                        ends[index] = packet.dts
                        packet.stream = copies[index]
                        yield packet.pts * packet.time_base, packet
        except (self._av.FFmpegError, ValueError) as error:  # or not for Matroska
            message = f'{location}: its sound is not read, or not to its end ({error})'
            warn(message, stacklevel=2)
