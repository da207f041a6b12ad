"""Real videos for tests."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np


def write_video(
    path: Path,
    number: int = 5,
    size: tuple[int, int] = (96, 64),
    fps: float = 10,
    codec: str = 'MJPG',
) -> Path:
    """Frames of one brightness each: 20, 40, .. (from the start after 240)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    for i in range(number):
        writer.write(np.full((*size[::-1], 3), 20 * (i % 12 + 1), np.uint8))
    writer.release()
    return path


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while (image := capture.read()[1]) is not None:
        images.append(image)
    capture.release()
    return images


def matroska_duration(path: Path, milliseconds: float) -> None:
    """Makes a Matroska file say how long it is; the longest stream counts there."""
    content = path.read_bytes()
    start = content.index(b'\x44\x89\x88') + 3
    path.write_bytes(
        content[:start] + struct.pack('>d', milliseconds) + content[start + 8 :]
    )


def matroska_second_frame(path: Path, milliseconds: int) -> None:
    """Moves the second frame, of 25 a second."""
    content = path.read_bytes()
    track, moved = b'\x81', struct.pack('>h', milliseconds)
    start = content.index(track + b'\x00\x28') + 1
    path.write_bytes(content[:start] + moved + content[start + 2 :])


def write_timed_video(
    path: Path, times: Sequence[float], sound: str | None = 'aac', start: float = 0.0
) -> Path:
    """A video with frames at these times, a title, and a tone; needs PyAV.

    The levels are those of :func:`write_video`. The container's times begin at `start`.
    """
    import av

    with av.open(str(path), 'w') as out:
        out.metadata['title'] = 'a secret title'
        picture = out.add_stream('mpeg4', 25)
        picture.width, picture.height, picture.pix_fmt = 96, 64, 'yuv420p'
        picture.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for i, time in enumerate(times):
            level = np.full((64, 96, 3), 20 * (i % 12 + 1), np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format='bgr24')
            frame.pts, frame.time_base = round(1000 * (start + time)), Fraction(1, 1000)
            packets += picture.encode(frame)
        packets += picture.encode(None)
        if sound:
            tone = out.add_stream(sound, 16000)
            tone.layout = 'mono'
            for first in range(0, int(16000 * (times[-1] + 0.04)), 1024):
                wave = np.sin(0.17 * np.arange(first, first + 1024, dtype=np.float32))
                block = av.AudioFrame.from_ndarray(wave[None], 'fltp', 'mono')
                block.sample_rate, block.time_base = 16000, Fraction(1, 16000)
                block.pts = first + round(16000 * start)
                packets += tone.encode(block)
            packets += tone.encode(None)
        out.start_encoding()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def read_times(path: Path) -> list[float]:
    """Seconds of the frames after the first, to the millisecond; needs PyAV."""
    import av

    with av.open(str(path)) as file:
        times = [float(frame.time) for frame in file.decode(video=0)]
    return [round(time - times[0], 3) for time in times]


def read_sound(path: Path) -> list[tuple[float, bytes]]:
    """Times and contents of the packets of sound, after the first frame; needs PyAV."""
    import av

    with av.open(str(path)) as file:
        picture = file.streams.video[0]
        start = picture.start_time * picture.time_base
        packets = file.demux(file.streams.audio) if file.streams.audio else ()
        found = [(p.pts * p.time_base - start, bytes(p)) for p in packets if p.size]
    return [(round(float(time), 3), content) for time, content in found]


def hear(path: Path) -> np.ndarray:
    """The first channel's samples from the first frame on; needs PyAV."""
    import av

    with av.open(str(path)) as file:
        picture, sound = file.streams.video[0], file.streams.audio[0]
        start = picture.start_time * picture.time_base
        blocks = list(file.decode(sound))
    before = round((start - blocks[0].pts * sound.time_base) * blocks[0].sample_rate)
    samples = np.concatenate([block.to_ndarray()[0] for block in blocks])
    assert before >= 0
    return samples[before:]
