"""What the page shows, without the page."""

import csv
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector import ImageError
from mmdet_srn.detector.drawn_files import draw_faces
from mmdet_srn.detector.web_results import WebResults, at_least


@pytest.fixture(scope='module')
def results(tiny, tmp_path_factory) -> WebResults:
    detector = FaceDetector(*tiny, device='cpu', score_thr=0.05)
    return WebResults(detector, tmp_path_factory.mktemp('shown'))


@pytest.fixture
def photo(tmp_path, make_image) -> Path:
    path = tmp_path / 'my photo.png'
    cv2.imwrite(str(path), make_image())
    return path


def claim_of_a_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + check

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    body = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b''))
    return b'\x89PNG\r\n\x1a\n' + body + chunk(b'IEND', b'')


@pytest.mark.parametrize('threshold', [0.05, 0.5, 0.6, 1.0])
def test_shown_is_what_a_detector_of_that_threshold_finds(
    results, tiny, photo, threshold
):
    found = results.detect(photo)
    shown = results.show(found, threshold)
    wanted = FaceDetector(*tiny, device='cpu', score_thr=threshold).detect(photo)
    np.testing.assert_array_equal(shown.faces.bboxes, wanted.bboxes)
    np.testing.assert_array_equal(shown.faces.scores, wanted.scores)
    assert len(found.faces) > len(wanted) or threshold == 0.05  # all of 40
    assert (threshold == 1.0) == (len(wanted) == 0)

    (line,) = shown.json.read_text().splitlines()
    record = json.loads(line)
    assert record['image'] == 'my photo.png'  # no folder of the server
    assert (record['width'], record['height']) == (96, 64)
    np.testing.assert_array_equal(np.float32(record['scores']), wanted.scores)
    np.testing.assert_array_equal(
        np.float32(record['bboxes']).reshape(-1, 4), wanted.bboxes
    )
    with shown.csv.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [np.float32(row['score']) for row in rows] == wanted.scores.tolist()

    assert shown.drawn.name == 'my photo_faces.jpg'
    drawn = draw_faces(cv2.imread(str(photo)), wanted)
    content = cv2.imencode('.jpg', drawn)[1].tobytes()
    assert shown.drawn.read_bytes() == content

    table = np.array(shown.rows()).reshape(-1, 6)
    assert table[:, 0].tolist() == list(range(1, len(wanted) + 1))
    np.testing.assert_allclose(table[:, 1], wanted.scores, atol=5.1e-4)
    np.testing.assert_allclose(table[:, 2:], wanted.bboxes, atol=0.051)


def test_network_runs_once_a_picture(results, photo, monkeypatch):
    found = results.detect(photo)
    assert found.seconds > 0 and not found.multi_scale
    monkeypatch.setattr(results.detector, '_backend', None)  # would fail now
    with monkeypatch.context() as patch:
        patch.setattr(results.detector, 'read', lambda path: cv2.imread(str(path)))
        few, many = (results.show(found, threshold) for threshold in (0.6, 0.1))
    assert 0 < len(few.faces) < len(many.faces)


def test_multi_scale(tmp_path, photo):
    from tests.test_detector.tiny_model import make_tiny_model

    more = "tta_model = dict(type='SRNMultiScaleTest', max_size=90)\n"
    model = make_tiny_model(tmp_path / 'model', more)
    detector = FaceDetector(*model, device='cpu', score_thr=0.05)
    found = WebResults(detector, tmp_path).detect(photo, multi_scale=True)
    assert found.multi_scale
    wanted = detector.detect(photo, multi_scale=True)
    np.testing.assert_array_equal(found.faces.bboxes, wanted.bboxes)


def test_large_pictures_are_made_smaller_for_the_detector(results, tmp_path):
    class Detector:
        score_thr = 0.05

        def detect(self, image, *, max_size, multi_scale):
            self.asked = (image.shape, max_size, multi_scale)

    path = tmp_path / 'large.png'
    cv2.imwrite(str(path), np.zeros((20, 3000, 3), np.uint8))
    detector = Detector()
    detector.read = results.detector.read
    WebResults(detector, tmp_path).detect(path)
    assert detector.asked == ((20, 3000, 3), 2048, False)


def test_shown_can_be_removed(results, photo):
    found = results.detect(photo)
    first, second = results.show(found, 0.3), results.show(found, 0.3)
    first.remove()
    assert not first.drawn.parent.exists()
    assert second.drawn.is_file() and second.csv.is_file() and photo.is_file()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('notes.txt', b'no picture', 'notes.txt is no picture, or a damaged one'),
        ('empty.jpg', b'', 'empty.jpg is no picture, or a damaged one'),
        ('page.svg', b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'page.svg is no'),
        ('a.png', claim_of_a_png(64, 64), 'a.png is no image that OpenCV can read'),
        (
            'bomb.png',
            claim_of_a_png(20_000, 5_001),
            'bomb.png has 20000 × 5001 pixels, more than 100 million',
        ),
        ('bomb.png', claim_of_a_png(60_000, 60_000), 'bomb.png has too many pixels'),
    ],
)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_what_is_no_picture(results, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        results.detect(path)
    assert str(caught.value).startswith(message)
    assert str(tmp_path) not in str(caught.value)


def test_cut_picture(results, photo):
    photo.write_bytes(photo.read_bytes()[:600])
    with pytest.raises(ImageError, match=r'^my photo\.png is no image that OpenCV'):
        results.detect(photo)


def test_picture_that_the_config_cannot_take(results, tmp_path, monkeypatch):
    path = tmp_path / 'strip.png'
    cv2.imwrite(str(path), np.zeros((4, 8, 3), np.uint8))

    def refuse(*args, **kwargs):
        raise ImageError('the test pipeline cannot take it')

    monkeypatch.setattr(results.detector, 'detect', refuse)
    with pytest.raises(ImageError, match=r'^strip\.png: the test pipeline cannot'):
        results.detect(path)


def test_picture_that_was_deleted_meanwhile(results, photo):
    found = results.detect(photo)
    photo.unlink()
    with pytest.raises(ImageError, match=r'^my photo\.png is no longer kept here'):
        results.show(found, 0.5)


def test_at_least(results, photo):
    faces = results.detect(photo).faces
    third = float(faces.scores[2])
    assert len(at_least(faces, third)) == 3  # a score on the threshold counts
    assert len(at_least(faces, 0)) == len(faces)
    assert (at_least(faces, 1).width, at_least(faces, 1).height) == (96, 64)
