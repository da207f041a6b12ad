import os
import signal
import subprocess
import sys
from pathlib import PurePath

import cv2
import numpy as np
import pytest

from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.sources import Frame, Source
from mmdet_srn.detector.writers import GREEN, DrawnFiles, draw_faces
from tests.test_detector.videos import read_video


def faces_of(image: np.ndarray, *boxes: tuple[float, ...]) -> FaceDetections:
    return FaceDetections(
        np.float32(boxes).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        image.shape[1],
        image.shape[0],
    )


def source(kind: str, name: str) -> Source:
    return Source(kind, f'{name}.avi', PurePath(name))


def test_boxes_are_drawn_where_they_are():
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_faces(image, faces_of(image, (50.4, 60, 250, 149.6)))
    assert not image.any()
    for y, x in ((60, 150), (150, 150), (100, 50), (100, 250)):
        assert tuple(drawn[y, x]) == GREEN
    assert not drawn[62:149, 52:249].any() and not drawn[152:].any()
    assert drawn[40:59, 50:120].any()  # the score, above the box


@pytest.mark.parametrize('size', [(1, 1), (3, 500), (500, 3), (64, 96)])
def test_boxes_beyond_the_image(size):
    image = np.zeros((*size, 3), np.uint8)
    boxes = [(-1e9, -1e9, 1e9, 1e9), (-5, -5, 2, 2), (0, 0, 0, 0), (1e6, 0, 2e6, 9)]
    drawn = draw_faces(image, faces_of(image, *boxes))
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)


def test_no_faces(make_image):
    image = make_image()
    np.testing.assert_array_equal(draw_faces(image, faces_of(image)), image)


def test_images(tmp_path, make_image):
    image = make_image(0, 200, 300)
    drawn = DrawnFiles(tmp_path)
    for name in ('photo', 'deep/photo', 'photo'):
        frame = Frame(source('image', name), image)
        drawn.write(frame, faces_of(image, (20, 20, 200, 150)))
    drawn.close()
    names = ['deep/photo_faces.jpg', 'photo_2_faces.jpg', 'photo_faces.jpg']
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in files) == names
    found = cv2.imread(str(tmp_path / names[-1])).astype(int)
    wanted = draw_faces(image, faces_of(image, (20, 20, 200, 150)))
    assert np.abs(found - wanted).mean() < 6 < np.abs(found - image).max()


def test_an_image_too_long_for_a_jpeg(tmp_path):
    image = np.zeros((2, 70000, 3), np.uint8)
    drawn = DrawnFiles(tmp_path)
    drawn.write(Frame(source('image', 'strip'), image), faces_of(image))
    found = cv2.imread(str(tmp_path / 'strip_faces.jpg'))
    assert found.shape == (2, 65500, 3)


@pytest.mark.parametrize('size', [(64, 96), (63, 97), (1, 1)])
def test_videos(tmp_path, size):
    """Each source gets its file, also those of one name; odd sides lose a pixel."""
    drawn = DrawnFiles(tmp_path)
    first, second = source('video', 'clip'), source('webcam', 'clip')
    for each, number in ((first, 3), (second, 2)):
        for i in range(number):
            image = np.full((*size, 3), 50 * (i + 1), np.uint8)
            drawn.write(Frame(each, image, i, 10.0), faces_of(image))
    drawn.close()
    for name, number in (('clip', 3), ('clip_2', 2)):
        images = read_video(tmp_path / f'{name}_faces.mkv')
        shape = tuple(max(side // 2 * 2, 2) for side in size)
        assert [image.shape[:2] for image in images] == [shape] * number
        levels = [image.mean() for image in images]
        assert levels == pytest.approx([50 * (i + 1) for i in range(number)], abs=4)
    capture = cv2.VideoCapture(str(tmp_path / 'clip_faces.mkv'))
    assert capture.get(cv2.CAP_PROP_FPS) == 10


def test_frames_of_other_sizes_are_fitted(tmp_path, make_image):
    drawn = DrawnFiles(tmp_path)
    each = source('video', 'clip')
    for i, size in enumerate([(64, 96), (48, 48)]):
        image = make_image(i, *size)
        drawn.write(Frame(each, image, i), faces_of(image, (5, 5, 40, 40)))
    drawn.close()
    shapes = [image.shape for image in read_video(tmp_path / 'clip_faces.mkv')]
    assert shapes == [(64, 96, 3)] * 2


def test_inputs_are_not_written_to(tmp_path, make_image):
    taken = tmp_path / 'photo_faces.jpg'
    taken.write_text('mine')
    image = make_image()
    drawn = DrawnFiles(tmp_path, [str(taken)])
    drawn.write(Frame(source('image', 'photo'), image), faces_of(image))
    assert taken.read_text() == 'mine'
    assert (tmp_path / 'photo_2_faces.jpg').is_file()


def test_what_cannot_be_written(tmp_path, make_image):
    image = make_image()
    (tmp_path / 'file').write_text('no folder')
    drawn = DrawnFiles(tmp_path / 'file')
    for kind, index in (('image', None), ('video', 0)):
        with pytest.raises(OSError):
            drawn.write(Frame(source(kind, 'x'), image, index), faces_of(image))


def test_a_video_with_a_name_that_is_not_utf8(tmp_path, make_image):
    """OpenCV would end the process."""
    image = make_image()
    drawn = DrawnFiles(tmp_path / os.fsdecode(b'\xe9'))
    with pytest.raises(OSError, match='not UTF-8'):
        drawn.write(Frame(source('video', 'x'), image, 0), faces_of(image))


def test_a_video_can_be_played_after_a_kill(tmp_path, repo_root):
    """mim kills its script a quarter of a second after Ctrl-C."""
    code = f"""
import os, signal
from pathlib import Path, PurePath
import numpy as np
from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.writers import DrawnFiles
from mmdet_srn.detector.sources import Frame, Source

drawn = DrawnFiles(Path({str(tmp_path)!r}))
rng = np.random.default_rng(0)
none = FaceDetections(np.zeros((0, 4), 'f'), np.zeros(0, 'f'), 320, 240)
clip = Source('video', 'clip.avi', PurePath('clip'))
for i in range(200):
    image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    drawn.write(Frame(clip, image, i, 25.0), none)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': str(repo_root)},
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    images = read_video(tmp_path / 'clip_faces.mkv')
    assert 150 < len(images) <= 200
    assert {image.shape for image in images} == {(240, 320, 3)}
