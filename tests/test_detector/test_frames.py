import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath
from unittest import mock

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.detector import frames as frames_module
from mmdet_srn.detector.frames import count_frames, frames
from mmdet_srn.detector.images import read_image
from mmdet_srn.detector.sources import find_sources
from tests.test_detector.videos import (
    matroska_duration,
    matroska_second_frame,
    write_video,
)


def read(sources) -> tuple[list, list]:
    problems = []
    images = list(frames(sources, read_image, lambda *args: problems.append(args)))
    return images, problems


@pytest.mark.parametrize('suffix', ['.avif', '.gif', '.jp2', '.jfif'])
def test_what_opencv_reads_is_found_in_folders(tmp_path, make_image, suffix):
    kind = '.jpg' if suffix == '.jfif' else suffix
    if not cv2.haveImageWriter(f'x{kind}'):
        pytest.skip(f'this OpenCV ({cv2.__version__}) has no {kind}')
    encoded = cv2.imencode(kind, make_image())[1]
    (tmp_path / f'x{suffix}').write_bytes(encoded.tobytes())
    ((frame,), problems) = read(find_sources([str(tmp_path)], tmp_path / 'out'))
    assert frame.image.shape == make_image().shape and problems == []


CUT_OFF = 'x{} is cut off: {} frames'


@pytest.mark.parametrize(
    ('suffix', 'codec', 'message'),
    [
        ('.avi', 'MJPG', 'x{} ended after {} of about 40 frames'),
        ('.3gp', 'mp4v', ''),
        ('.mkv', 'mp4v', CUT_OFF),
        ('.flv', 'FLV1', CUT_OFF),
        ('.mts', 'mp4v', None),  # which does not say how long it is
    ],
)
def test_videos_that_are_cut_off(tmp_path, monkeypatch, suffix, codec, message):
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / f'x{suffix}', 40, codec=codec)
    images, problems = read(find_sources(['.'], tmp_path / 'out'))
    assert (len(images), problems) == (40, [])
    if message is not None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        sources = find_sources(['.'], tmp_path / 'out')
        images, problems = read(sources)
        assert len(images) < 32
        ((source, said),) = problems
        assert source is sources[0] and f'x{suffix}' in said
        assert message.format(suffix, len(images)) in said


def test_frames(tree):
    sources = find_sources(['in'], Path('out'))
    assert count_frames(sources) == 8
    images, problems = read(sources)
    assert problems == []
    assert [(frame.source.location, frame.index) for frame in images] == [
        ('in/a.png', None),
        ('in/c.JPG', None),
        *(('in/clip.avi', i) for i in range(5)),
        ('in/deep/d.jpg', None),
    ]
    np.testing.assert_array_equal(images[0].image, cv2.imread('in/a.png'))
    levels = [round(frame.image.mean()) for frame in images[2:7]]
    assert levels == pytest.approx([20, 40, 60, 80, 100], abs=2)
    assert {frame.fps for frame in images[2:7]} == {10.0}


def test_broken_files_are_named_and_passed_over(tree):
    Path('in/a.png').write_bytes(b'no image')
    sources = find_sources(['in/*.JPG', 'in/*.png', 'in/notes.txt'], Path('out'))
    (tree / 'bad.mp4').write_bytes(b'no video')
    sources += find_sources(['bad.mp4', 'b.jpg', '99'], Path('out'))
    images, problems = read(sources)
    assert [frame.source.location for frame in images] == ['in/c.JPG', 'b.jpg']
    assert [source.location for source, _ in problems] == [
        *('in/a.png', 'in/notes.txt', 'bad.mp4', '99')
    ]
    for source, message in problems:
        assert message.startswith(str(source))
    assert 'webcam 99 cannot be opened' in problems[-1][1]
    assert count_frames(sources[:-1]) == 4  # a broken video counts for none


def test_frames_far_apart_are_no_cut(tree, recwarn):
    """Two frames in two seconds, where 25 a second would be 51."""
    path = write_video(tree / 'two.mkv', 2, fps=25, codec='mp4v')
    matroska_second_frame(path, 2000)
    matroska_duration(path, 2040)
    sources = find_sources(['two.mkv'], Path('out'))
    assert count_frames(sources) == 51
    images, problems = read(sources)
    assert (len(images), problems) == (2, [])
    assert not [w for w in recwarn if 'two.mkv' in str(w.message)]


def test_sound_longer_than_the_picture_is_a_warning(tree):
    path = write_video(tree / 'long.mkv', 5, codec='mp4v')
    matroska_duration(path, 9000)
    with pytest.warns(UserWarning, match='long.mkv: the picture ends at 0.5 of 9.0'):
        images, problems = read(find_sources(['long.mkv'], Path('out')))
    assert (len(images), problems) == (5, [])


def test_videos_with_names_that_are_not_utf8(tree):
    """OpenCV ends the process at such a name."""
    name = os.fsdecode(b'in/\xe9.mp4')
    Path(name).touch()
    os.mkfifo('in/pipe.mp4')  # and waits here for ever
    sources = find_sources(['in'], Path('out'))
    assert count_frames(sources) == 8
    images, problems = read(sources)
    assert len(images) == 8
    assert ['not UTF-8' in m or 'is not a file' in m for _, m in problems] == [True] * 2
    assert {source.location for source, _ in problems} == {name, 'in/pipe.mp4'}


def test_videos_in_a_folder_that_is_not_utf8(tree, monkeypatch):
    """OpenCV ends the process at an absolute path."""
    os.rename('in', os.fsdecode(b'\xff'))
    monkeypatch.chdir(os.fsdecode(b'\xff'))
    images, problems = read(find_sources(['clip.avi'], Path('out')))
    assert (len(images), problems) == (5, [])


def test_videos_are_asked_to_be_turned(tree):
    """OpenCV 4.11 does so only if asked."""
    capture = mock.Mock(**{'get.return_value': 0.0})
    with mock.patch.object(cv2, 'VideoCapture', return_value=capture):
        count_frames(find_sources(['in/clip.avi'], Path('out')))
    capture.set.assert_called_once_with(cv2.CAP_PROP_ORIENTATION_AUTO, 1)


def test_no_frame_is_read_ahead_or_kept(tree):
    """Counted: the frames that are alive."""
    write_video(tree / 'long.avi', 30)
    alive: weakref.WeakSet = weakref.WeakSet()
    gc.disable()
    try:
        sources = find_sources(['long.avi', 'in'], Path('out'))
        for frame in frames(sources, read_image, lambda *args: None):
            alive.add(frame)
            assert len(alive) == 1
            del frame
    finally:
        gc.enable()


# -------------------------------------------------------------------------- animations


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp'])
def test_animations_are_videos(tmp_path, suffix):
    path = tmp_path / f'x.{suffix}'
    pages = [Image.new('RGB', (48, 32), (level, 0, 0)) for level in (40, 120, 200)]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=250)
    images, problems = read(find_sources([str(tmp_path)], tmp_path / 'out'))
    assert [(frame.index, frame.fps, frame.time) for frame in images] == [
        (i, 4.0, i / 4) for i in range(3)
    ]
    for frame, level in zip(images, (40, 120, 200), strict=True):
        assert frame.image.shape == (32, 48, 3)
        assert np.abs(frame.image.astype(int) - [0, 0, level]).max() <= 8
    assert problems == []
    pages[0].save(path)
    ((frame,), problems) = read(find_sources([str(tmp_path)], tmp_path / 'out'))
    assert frame.index is None and problems == []


@pytest.mark.parametrize('suffix', ['png', 'webp'])
@pytest.mark.filterwarnings('ignore:.*holds several pictures')
def test_animations_are_turned_as_images_are(tmp_path, make_image, suffix):
    path = tmp_path / f'x.{suffix}'
    pages = [Image.fromarray(make_image(i)) for i in range(2)]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pages[0].save(path, save_all=True, append_images=pages[1:], exif=exif)
    images, problems = read(find_sources([str(path)], tmp_path / 'out'))
    assert [frame.image.shape for frame in images] == [(96, 64, 3)] * 2
    wanted = read_image(path).astype(int)
    # Two decoders may round differently; turned the wrong way they differ by far more.
    assert np.abs(images[0].image - wanted).mean() < 3
    assert problems == []


def test_an_animation_that_is_cut_off(tmp_path, make_image):
    path = tmp_path / 'x.gif'
    pages = [Image.fromarray(make_image(i)) for i in range(4)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    images, [(source, message)] = read(find_sources([str(path)], tmp_path / 'out'))
    assert 2 <= len(images) < 4
    assert f'x.gif is damaged after {len(images)} frames' in message


# ----------------------------------------------------------------------------- streams


@contextmanager
def serve(content: bytes, number: int | None = None) -> Iterator[str]:
    """Serves a file under any name, with a length, and only so many bytes of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content[:number])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'127.0.0.1:{server.server_port}'
        finally:
            server.shutdown()
            thread.join()


def write_noise(path: Path, number: int) -> bytes:
    """A video that is not small."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (128, 96))
    rng = np.random.default_rng(0)
    for _ in range(number):
        writer.write(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
    writer.release()
    return path.read_bytes()


def test_http(tmp_path):
    content = write_noise(tmp_path / 'x.mkv', 30)
    with serve(content) as host:
        sources = find_sources([f'http://me:secret@{host}/live/x.mkv'], tmp_path)
        assert count_frames(sources) is None
        images, problems = read(sources)
    assert [frame.index for frame in images] == list(range(30)) and problems == []
    assert str(sources[0]) == f'http://{host}/live/x.mkv'  # as results name it
    assert sources[0].name == PurePath(f'127_0_0_1_{host[10:]}_live_x_mkv')


def test_a_stream_that_is_lost(tmp_path):
    content = write_noise(tmp_path / 'x.mkv', 60)
    with serve(content, len(content) * 2 // 3) as host:
        sources = find_sources([f'http://{host}/x.mkv'], tmp_path)
        images, [(source, message)] = read(sources)
    assert 20 < len(images) < 45  # what came stays
    assert source is sources[0]
    assert f'/x.mkv ended or was lost after {len(images)} of about 60' in message


@pytest.mark.parametrize('protocol', ['http', 'rtsp'])
def test_a_stream_without_an_answer(tmp_path, monkeypatch, protocol):
    monkeypatch.setattr(frames_module, 'STREAM_TIMEOUT', 300)
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'{protocol}://127.0.0.1:{server.getsockname()[1]}/x.ts'
        images, [(_, message)] = read(find_sources([address], tmp_path))
    assert images == [] and 'cannot be opened' in message


def test_rtsp(tmp_path, repo_root):
    """FFmpeg waits for the stream that PyAV sends, in another process."""
    pytest.importorskip('av', reason='needs PyAV, of the extra video')
    with socket.create_server(('127.0.0.1', 0)) as free:
        address = f'rtsp://127.0.0.1:{free.getsockname()[1]}/live'
    code = f"""
from pathlib import Path
from mmdet_srn.detector.frames import frames
from mmdet_srn.detector.sources import find_sources
sources = find_sources([{address!r}], Path('out'))
for frame in frames(sources, None, lambda source, message: print(message)):
    print(frame.index, frame.image.shape, flush=True)
"""
    env = {
        **os.environ,
        'PYTHONPATH': str(repo_root),
        'MMDET_SRN_LIGHT': '1',
        'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'rtsp_flags;listen',
    }
    command = [sys.executable, '-W', 'ignore', '-c', code]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        send_rtsp(address, 20)
        said = child.communicate(timeout=120)[0].splitlines()
    assert said[0] == '0 (96, 128, 3)' and 15 < len(said) <= 21
    assert said[-1] == f'{address} ended or was lost after {len(said) - 1} frames'


def send_rtsp(address: str, number: int) -> None:
    """Send a stream of one colour after the other, once the other process listens."""
    import av

    options = dict(rtsp_transport='tcp')
    for _ in range(300):
        output = av.open(address, 'w', format='rtsp', options=options)
        stream = output.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuv420p'
        try:
            output.start_encoding()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    with output:
        for i in range(number):
            pixels = np.full((96, 128, 3), 10 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format='bgr24')
            output.mux(stream.encode(frame))
            time.sleep(0.02)
        output.mux(stream.encode())
