"""Written videos: real files, read back by PyAV and OpenCV."""

import sys
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest

from mmdet_srn.detector.frames import Frame, frames
from mmdet_srn.detector.images import read_image
from mmdet_srn.detector.sources import Source, find_sources
from mmdet_srn.detector.video_writer import open_video
from tests.test_detector.videos import (
    hear,
    read_sound,
    read_times,
    read_video,
    write_timed_video,
    write_video,
)

TIMES = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24]  # a variable rate
WEBCAM = Source('webcam', '0', PurePath('webcam_0'))
PIXELS = np.full((64, 96, 3), 90, np.uint8)


def copy(source: Path, target: Path) -> list[Frame]:
    """Write the frames of a video again; return them."""
    (found,) = find_sources([str(source)], Path('out'))
    read = list(frames([found], read_image, lambda *problem: pytest.fail(str(problem))))
    video = open_video(target, read[0])
    for frame in read:
        video.write(frame.image, frame.time)
    video.close()
    return read


@pytest.mark.parametrize(
    ('name', 'sound', 'start'),
    [
        ('a.mkv', 'aac', 0),
        ('a.mp4', 'aac', 1.5),
        ('b.mkv', 'libopus', 0),
        ('a.mov', 'pcm_s16be', 0),
    ],
)
def test_times_and_sound_are_kept(tmp_path, name, sound, start):
    pytest.importorskip('av')
    path = write_timed_video(tmp_path / name, TIMES, sound, start)
    read = copy(path, tmp_path / 'copy.mkv')
    times = [frame.time for frame in read]
    np.testing.assert_allclose(times, read_times(path), atol=1e-3)
    np.testing.assert_allclose(read_times(path), TIMES, atol=1e-3)
    assert read_times(tmp_path / 'copy.mkv') == read_times(path)
    copied = read_video(tmp_path / 'copy.mkv')
    levels = [image.mean(axis=(0, 1)) for image in copied]
    wanted = [frame.image.mean(axis=(0, 1)) for frame in read]
    np.testing.assert_allclose(levels, wanted, atol=2)
    wanted = [(t, content) for t, content in read_sound(path) if t < 1.28]
    copied = read_sound(tmp_path / 'copy.mkv')
    assert [content for _, content in copied] == [content for _, content in wanted]
    assert len(copied) > 15
    np.testing.assert_allclose(
        [t for t, _ in copied], [t for t, _ in wanted], atol=2e-3
    )
    wanted, heard = hear(path), hear(tmp_path / 'copy.mkv')
    assert len(heard) > 1.2 * 16000
    np.testing.assert_array_equal(heard, wanted[: len(heard)])


@pytest.mark.filterwarnings('ignore:.*either the sound is longer')
def test_sound_long_before_the_picture_is_left_out(tmp_path):
    pytest.importorskip('av')
    path = write_timed_video(tmp_path / 'a.mkv', [1, 1.04, 1.5], 'aac')
    copy(path, tmp_path / 'copy.mkv')
    copied = read_sound(tmp_path / 'copy.mkv')
    wanted = [content for t, content in read_sound(path) if -0.25 < t < 0.54]
    assert [content for _, content in copied] == wanted
    assert -0.25 < copied[0][0] < -0.1


def test_no_metadata_is_copied(tmp_path):
    pytest.importorskip('av')
    path = write_timed_video(tmp_path / 'a.mkv', TIMES)
    assert b'a secret title' in path.read_bytes()
    copy(path, tmp_path / 'copy.mkv')
    assert b'a secret' not in (tmp_path / 'copy.mkv').read_bytes()


def test_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    path = write_video(tmp_path / 'a.avi')
    with pytest.warns(UserWarning, match=r'without sound.*mmdet_srn\[video\]'):
        read = copy(path, tmp_path / 'copy.mkv')
    assert [frame.time for frame in read] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert len(read_video(tmp_path / 'copy.mkv')) == 5


@pytest.mark.filterwarnings('ignore:.*sound')
@pytest.mark.parametrize('with_pyav', [False, True])
@pytest.mark.parametrize('size', [(4, 8192), (8192, 4)])
def test_sides_above_the_limit_of_mpeg_4(tmp_path, monkeypatch, size, with_pyav):
    if with_pyav:
        pytest.importorskip('av')
    else:
        monkeypatch.setitem(sys.modules, 'av', None)
    pixels = np.full((*size, 3), 90, np.uint8)
    video = open_video(tmp_path / 'a.mkv', Frame(WEBCAM, pixels, 0))
    for _ in range(2):
        video.write(pixels, None)
    video.close()
    first, second = read_video(tmp_path / 'a.mkv')
    assert first.shape == second.shape == (*(min(n, 8190) for n in size), 3)
    assert second.mean() == pytest.approx(90, abs=4)


def test_sound_that_cannot_be_kept(tmp_path):
    pytest.importorskip('av')
    path = write_timed_video(tmp_path / 'a.mov', TIMES, 'adpcm_ima_qt')
    with pytest.warns(UserWarning, match='a.mov: its sound'):
        copy(path, tmp_path / 'copy.mkv')
    assert read_times(tmp_path / 'copy.mkv') == read_times(path)
    assert read_sound(tmp_path / 'copy.mkv') == []
    gone = Frame(Source('video', str(tmp_path / 'no.mkv'), PurePath('no')), PIXELS, 0)
    with pytest.warns(UserWarning, match='no.mkv: its sound'):
        open_video(tmp_path / 'other.mkv', gone).close()


def test_times_that_are_unknown_or_go_back(tmp_path):
    pytest.importorskip('av')
    video = open_video(tmp_path / 'a.mkv', Frame(WEBCAM, PIXELS, 0, 10.0))
    for time in (None, None, 0.5, 0.2, None):
        video.write(PIXELS, time)
    video.close()
    assert read_times(tmp_path / 'a.mkv') == [0, 0.1, 0.5, 0.501, 0.601]


def test_times_of_a_container_without_times(tmp_path):
    """Of a raw stream OpenCV knows no time; the rate counts."""
    pytest.importorskip('av')
    path = write_video(tmp_path / 'a.avi', 3, fps=20)
    assert cv2.VideoCapture(str(path)).isOpened()
    (found,) = find_sources([str(path)], Path('out'))
    with pytest.MonkeyPatch.context() as patch:
        real = cv2.VideoCapture

        class Timeless:
            def __init__(self, *arguments):
                self._real = real(*arguments)

            def get(self, what):
                return 0.0 if what == cv2.CAP_PROP_POS_MSEC else self._real.get(what)

            def __getattr__(self, name):
                return getattr(self._real, name)

        patch.setattr(cv2, 'VideoCapture', Timeless)
        read = list(frames([found], read_image, print))
    assert [frame.time for frame in read] == [0, 0.05, 0.1]


def test_what_cannot_be_written(tmp_path):
    pytest.importorskip('av')
    folder = tmp_path / 'folder.mkv'
    folder.mkdir()
    with pytest.raises(OSError, match='folder.mkv'):
        open_video(folder, Frame(WEBCAM, PIXELS, 0))
    if not Path('/dev/full').exists():
        pytest.skip('no /dev/full here')
    with pytest.raises(OSError, match='/dev/full'):  # noqa: PT012
        video = open_video(Path('/dev/full'), Frame(WEBCAM, PIXELS, 0))
        for i in range(200):
            video.write(PIXELS, i / 10)
        video.close()
