import io
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import PurePath

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.hiding import STYLES, Hiding
from mmdet_srn.detector.images import read_image
from mmdet_srn.detector.pictures import (
    GREEN,
    CropFiles,
    DrawnFiles,
    HiddenFiles,
    draw_faces,
)
from mmdet_srn.detector.sources import Source
from tests.test_detector.shown import (
    PIXELS,
    VIDEO,
    faces,
    faces_at,
    files,
    image,
    write,
)
from tests.test_detector.videos import read_video
from tests.tool_loader import run_light

# ----------------------------------------------------------------------------- drawings


def test_boxes_are_drawn_where_they_are(make_image):
    pixels = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_faces(pixels, faces_at(pixels, (50.4, 60, 250, 149.6)))
    assert not pixels.any()
    for y, x in ((60, 150), (150, 150), (100, 50), (100, 250)):
        assert tuple(drawn[y, x]) == GREEN
    assert not drawn[62:149, 52:249].any() and not drawn[152:].any()
    assert drawn[40:59, 50:120].any()  # the score, above the box
    pixels = make_image()
    np.testing.assert_array_equal(draw_faces(pixels, faces_at(pixels)), pixels)


@pytest.mark.parametrize('size', [(1, 1), (3, 500), (500, 3), (64, 96)])
def test_boxes_beyond_the_image(size):
    pixels = np.zeros((*size, 3), np.uint8)
    boxes = [(-1e9, -1e9, 1e9, 1e9), (-5, -5, 2, 2), (0, 0, 0, 0), (1e6, 0, 2e6, 9)]
    drawn = draw_faces(pixels, faces_at(pixels, *boxes))
    assert (drawn.shape, drawn.dtype) == (pixels.shape, np.uint8)


def test_images(tmp_path, make_image):
    pixels = make_image(0, 200, 300)
    box = faces_at(pixels, (20, 20, 200, 150))
    shown = [
        (Frame(Source('image', f'{name}.png', PurePath(name)), pixels), box)
        for name in ('photo', 'deep/photo', 'photo')
    ]
    strip = np.zeros((2, 70000, 3), np.uint8)  # too long for a JPEG file
    shown.append((image('strip.png', strip), faces_at(strip)))
    write(DrawnFiles, tmp_path, shown)
    assert files(tmp_path) == [
        *('deep/photo_faces.jpg', 'photo_2_faces.jpg', 'photo_faces.jpg'),
        'strip_faces.jpg',
    ]
    found = cv2.imread(str(tmp_path / 'photo_faces.jpg')).astype(int)
    wanted = draw_faces(pixels, box)
    assert np.abs(found - wanted).mean() < 6 < np.abs(found - pixels).max()
    assert cv2.imread(str(tmp_path / 'strip_faces.jpg')).shape == (2, 65500, 3)


@pytest.mark.filterwarnings('ignore:.*sound')
@pytest.mark.parametrize('with_pyav', [False, True])
@pytest.mark.parametrize('size', [(64, 96), (63, 97), (1, 1)])
def test_videos(tmp_path, monkeypatch, size, with_pyav):
    """One file per source, also for namesakes; all frames get the first one's size."""
    if with_pyav:
        pytest.importorskip('av')
    else:
        monkeypatch.setitem(sys.modules, 'av', None)
    shown = []
    for source, number in ((VIDEO, 3), (Source('webcam', '1', PurePath('clip')), 2)):
        for i in range(number):
            sides = size if i < 2 else (48, 48)
            pixels = np.full((*sides, 3), 50 * (i + 1), np.uint8)
            shown.append((Frame(source, pixels, i, 10.0), faces_at(pixels)))
    write(DrawnFiles, tmp_path, shown)
    for name, number in (('clip', 3), ('clip_2', 2)):
        images = read_video(tmp_path / f'{name}_faces.mkv')
        shape = tuple(max(side // 2 * 2, 2) for side in size)
        assert [image.shape[:2] for image in images] == [shape] * number
        levels = [image.mean() for image in images]
        assert levels == pytest.approx([50 * (i + 1) for i in range(number)], abs=4)
    capture = cv2.VideoCapture(str(tmp_path / 'clip_faces.mkv'))
    assert capture.get(cv2.CAP_PROP_FPS) == 10


def test_ids_are_drawn():
    pixels = np.zeros((200, 300, 3), np.uint8)
    plain = faces_at(pixels, (50, 60, 250, 150))
    numbered = draw_faces(pixels, replace(plain, ids=np.array([7])))
    assert (numbered != draw_faces(pixels, plain)).any()
    unknown = draw_faces(pixels, replace(plain, ids=np.array([-1])))
    np.testing.assert_array_equal(unknown, draw_faces(pixels, plain))


# ----------------------------------------------------------------- hidden and cut out


def test_hidden_pictures_carry_nothing_of_the_original(tmp_path, make_image):
    """Nor the preview that cameras put into EXIF data."""
    pixels, preview = make_image(0, 64, 96), io.BytesIO()
    Image.fromarray(pixels[::4, ::4]).save(preview, 'jpeg')
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = 'a secret camera'
    exif[ExifTags.Base.Orientation] = 6
    head, path = exif.tobytes(), tmp_path / 'photo.jpg'
    # The preview lies behind what Pillow writes; that it is found is not at issue.
    Image.fromarray(pixels).save(path, exif=head + preview.getvalue())
    assert preview.getvalue() in path.read_bytes()
    photo = read_image(path)
    assert photo.shape == (96, 64, 3)
    out = tmp_path / 'out'
    shown = [(image(str(path), photo), faces_at(photo, (0, 0, 64, 96)))]
    for style in STYLES:
        write(partial(HiddenFiles, hiding=Hiding(style)), out, shown)
        content = (out / 'photo_hidden.jpg').read_bytes()
        assert not any(s in content for s in (b'Exif', b'secret', preview.getvalue()))
        with Image.open(out / 'photo_hidden.jpg') as hidden:
            assert hidden.size == (64, 96) and not hidden.getexif()
            colours = np.asarray(hidden.convert('L').resize((8, 12))).astype(float)
        assert colours.std() < np.asarray(cv2.resize(photo, (8, 12))).std()
        assert style != 'box' or not colours.any()
    assert files(out) == ['photo_hidden.jpg']


@pytest.mark.filterwarnings('ignore:.*sound')
def test_hidden_videos_hide_frames_in_which_a_face_was_missed(tmp_path):
    pixels = np.full((64, 96, 3), 150, np.uint8)
    box = faces_at(pixels, (30, 20, 60, 50))
    hit = [i in (3, 7) for i in range(12)]
    shown = [
        (Frame(VIDEO, pixels, i, 10.0, i / 10), box if hit[i] else faces_at(pixels))
        for i in range(12)
    ]
    make = partial(HiddenFiles, hiding=Hiding('box', 0), gap=3)
    write(make, tmp_path, shown)
    images = read_video(tmp_path / 'clip_hidden.mkv')
    dark = [bool(each[25:45, 35:55].max() < 60) for each in images]
    assert dark == 11 * [True] + [False]
    assert all(each[:10].min() > 120 for each in images)


def test_crops(tmp_path, make_image):
    photo = make_image(0, 200, 300)
    boxes = ((20, 20, 60, 80), (100, 50, 110, 58), (-50, 190, 10, 220))
    found = faces_at(photo, *boxes)
    cut = found.crops(photo, margin=0.5)
    for crop, (rows, columns) in zip(
        cut,
        [((0, 110), (0, 90)), ((45, 63), (95, 115)), ((160, 200), (0, 40))],
        strict=True,
    ):
        np.testing.assert_array_equal(crop, photo[slice(*rows), slice(*columns)])
    assert [crop.shape[:2] for crop in found.crops(photo)] == [
        *((60, 40), (8, 10), (10, 10))
    ]
    outside = faces_at(photo, (400, 10, 420, 30))
    assert outside.crops(photo)[0].size == 0
    with pytest.raises(ValueError, match='300x200'):
        found.crops(photo[:50])

    shown = [
        (image('deep/photo.png', photo), found),
        (image('x/photo.png', photo), found),
    ]
    shown += [(image('y/photo.png', photo), faces_at(photo, *boxes, *boxes))]
    shown += [(image('none.png', photo), outside)]
    shown += [(Frame(VIDEO, photo, i), found) for i in (0, 7)]
    write(partial(CropFiles, margin=0.5, min_size=9), tmp_path / 'crops', shown)
    assert files(tmp_path / 'crops') == [
        *('clip.frames/000000_0.jpg', 'clip.frames/000000_2.jpg'),
        *('clip.frames/000007_0.jpg', 'clip.frames/000007_2.jpg'),
        *('photo_0.jpg', 'photo_2.jpg', 'photo_2_0.jpg', 'photo_2_2.jpg'),
        # Of its number 3, too, it is told whose it is.
        *(f'photo_3_{i}.jpg' for i in (0, 2, 3, 5)),
    ]
    written = cv2.imread(str(tmp_path / 'crops/photo_0.jpg')).astype(int)
    assert np.abs(written - cut[0]).mean() < 6


def test_long_names(tmp_path, make_image):
    """They are cut to 220 bytes between characters; equal ones are numbered."""
    photo, stems = make_image(), ('a' * 240, 'a' * 250, '\u4eba' * 80, 'b' * 220)
    found = faces_at(photo, (20, 20, 60, 60))
    shown = [(image(f'{stem}.jpg', photo), found) for stem in stems]
    names = ('a' * 220, 'a' * 220 + '_2', '\u4eba' * 73, 'b' * 220)
    for writer, ending in ((DrawnFiles, 'faces'), (CropFiles, '0')):
        write(writer, tmp_path / ending, shown)
        wanted = {f'{name}_{ending}.jpg' for name in names}
        assert set(files(tmp_path / ending)) == wanted


def test_what_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('no folder')
    drawn = DrawnFiles(tmp_path / 'file')
    for frame in (image('x.png'), Frame(VIDEO, PIXELS, 0)):
        with pytest.raises(OSError):
            drawn.write(frame, faces(0))


def test_a_video_can_be_played_after_a_kill(tmp_path):
    """mim kills its script a quarter of a second after Ctrl-C."""
    code = f"""
import os, signal
from pathlib import Path, PurePath
import numpy as np
from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.sources import Source
from mmdet_srn.detector.pictures import DrawnFiles

drawn = DrawnFiles(Path({str(tmp_path)!r}))
rng = np.random.default_rng(0)
none = FaceDetections(np.zeros((0, 4), 'f'), np.zeros(0, 'f'), 320, 240)
clip = Source('video', 'clip.avi', PurePath('clip'))
for i in range(200):
    image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    drawn.write(Frame(clip, image, i, 25.0), none)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_light('-c', code)
    assert done.returncode == -signal.SIGKILL, done.stderr
    images = read_video(tmp_path / 'clip_faces.mkv')
    assert 150 < len(images) <= 200
    assert {image.shape for image in images} == {(240, 320, 3)}
