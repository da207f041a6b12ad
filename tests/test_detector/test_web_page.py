"""The page over HTTP; how it looks is tested in test_web_browser.py."""

import csv
import json
import re
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector import ImageError
from mmdet_srn.detector.web_page import WebPage, at_least, load_gradio
from mmdet_srn.detector.writers import draw_faces
from tests.test_detector.tiny_model import make_tiny_model
from tests.test_detector.web_client import Client, WatchedDetector, free_port, served


def test_missing_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(ImportError, match=r'pip install "mmdet_srn\[web\]"'):
        load_gradio()


@pytest.fixture(scope='module')
def detector(tiny) -> FaceDetector:
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')
    return FaceDetector(*tiny, device='cpu', score_thr=0.05)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('served')


@pytest.fixture(scope='module')
def address(detector, folder):
    with served(detector, folder) as address:
        yield address


@pytest.fixture
def picture(make_image) -> bytes:
    return cv2.imencode('.png', make_image())[1].tobytes()


def test_shows_what_a_detector_of_that_threshold_finds(
    address, tiny, picture, make_image, folder
):
    client = Client(address)
    path = client.upload('my photo.png', picture)
    for threshold in (0.5, 1.0):
        said = client.detect(path, threshold)
        assert said['success']
        status, drawn, table, *files, _ = said['output']['data']
        wanted = FaceDetector(*tiny, device='cpu', score_thr=threshold).detect(path)
        assert (threshold == 1.0) == (len(wanted) == 0)
        assert f'<b>{len(wanted)} faces</b>' in status and '96 × 64 pixels' in status
        rows = np.array(table['data'], float).reshape(-1, 6)
        assert rows[:, 0].tolist() == list(range(1, len(wanted) + 1))
        np.testing.assert_allclose(rows[:, 1], wanted.scores, atol=5.1e-4)
        np.testing.assert_allclose(rows[:, 2:], wanted.bboxes, atol=0.051)

        paths = {Path(file['path']).name: Path(file['path']) for file in files}
        assert [*paths] == ['my photo_faces.jpg', 'faces.jsonl', 'faces.csv']
        assert Path(drawn['path']) == paths['my photo_faces.jpg']
        for file in (path, *paths.values()):  # deleted in time, and to be had
            assert folder in Path(file).parents
            quoted = urllib.request.pathname2url(str(file))
            assert client.status_of(f'/gradio_api/file={quoted}') == 200
        record = json.loads(paths['faces.jsonl'].read_text())
        assert record['image'] == 'my photo.png'  # no folder of the server
        boxes = np.float32(record['bboxes']).reshape(-1, 4)
        np.testing.assert_array_equal(boxes, wanted.bboxes)
        with paths['faces.csv'].open(newline='') as file:
            scores = [np.float32(row['score']) for row in csv.DictReader(file)]
        assert scores == wanted.scores.tolist()
        jpeg = cv2.imencode('.jpg', draw_faces(make_image(), wanted))[1]
        assert paths['my photo_faces.jpg'].read_bytes() == jpeg.tobytes()


def test_threshold_does_not_run_the_detector(detector, picture, tmp_path):
    watched = WatchedDetector(detector)
    with served(watched, tmp_path) as address:
        client = Client(address)
        first = client.detect(client.upload('a.png', picture), 0.45)['output']['data']
        second = client.ask('threshold.change', 0.5, None)['output']['data']
        # What was shown before is not left on the disk.
        drawn = [str(path) for path in tmp_path.rglob('*_faces.jpg')]
        assert drawn == [second[1]['path']] != [first[1]['path']]
    assert 0 < len(second[2]['data']) < len(first[2]['data'])
    assert watched.calls == [(False, 2048)]


def test_multi_scale(tmp_path, make_image):
    more = "tta_model = dict(type='SRNMultiScaleTest', max_size=90)\n"
    model = make_tiny_model(tmp_path, more)
    detector = FaceDetector(*model, device='cpu', score_thr=0.05)
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), make_image())
    found = WebPage(detector, tmp_path, 'tiny').detect(path, multi_scale=True)
    wanted = detector.detect(path, multi_scale=True)
    np.testing.assert_array_equal(found.faces.bboxes, wanted.bboxes)
    assert 'multi-scale test' in found.text


def claim_of_a_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + check

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    body = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b''))
    return b'\x89PNG\r\n\x1a\n' + body + chunk(b'IEND', b'')


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('notes.txt', b'no picture', 'notes.txt is no picture, or a damaged one'),
        ('empty.jpg', b'', 'empty.jpg is no picture, or a damaged one'),
        ('a.png', claim_of_a_png(64, 64), 'a.png is no image that OpenCV can read'),
        ('b.png', claim_of_a_png(20_000, 5_001), 'b.png has 20000 × 5001 pixels, more'),
        ('b.png', claim_of_a_png(60_000, 60_000), 'b.png has too many pixels'),
        ('absent.png', None, 'absent.png is no longer kept'),
        ('strip.png', None, 'strip.png: the test pipeline cannot'),
    ],
)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_unusable_pictures(detector, tmp_path, monkeypatch, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    if name == 'strip.png':
        cv2.imwrite(str(path), np.zeros((4, 8, 3), np.uint8))

        def refuse(*args, **kwargs):
            raise ImageError('the test pipeline cannot take it')

        monkeypatch.setattr(detector, 'detect', refuse)
    with pytest.raises(ImageError) as caught:
        WebPage(detector, tmp_path, 'tiny').detect(path)
    assert str(caught.value).startswith(message)
    assert str(tmp_path) not in str(caught.value)


def test_at_least(detector, make_image):
    faces = detector.detect(make_image())
    third = float(faces.scores[2])
    assert len(at_least(faces, third)) == 3  # a score on the threshold counts
    assert len(at_least(faces, 0)) == len(faces)
    assert (at_least(faces, 1).width, at_least(faces, 1).height) == (96, 64)


def test_broken_upload_clears_what_was_shown_and_is_no_html(address, picture):
    client = Client(address)
    assert b'a <tiny> model' not in client.get('/config')
    assert client.detect(client.upload('a.png', picture))['output']['data'][1]
    said = client.detect(client.upload('<b onload=x>.txt', b'no'))
    status, drawn, table, *files, _ = said['output']['data']
    assert 'is no picture, or a damaged one' in status
    assert 'class="error"' in status and '<b' not in status
    assert drawn is None and table['data'] == [] and not any(files)


def test_unexpected_error_is_shown(detector, picture, tmp_path, monkeypatch):
    watched = WatchedDetector(detector)

    def fail(*args, **kwargs):
        raise RuntimeError('out of memory')

    monkeypatch.setattr(watched, 'detect', fail)
    with served(watched, tmp_path) as address:
        client = Client(address)
        said = client.detect(client.upload('a.png', picture))
    assert not said['success'] and said['output']['error'] == 'out of memory'


# -------------------------------------------------------------------- who may do what


def test_only_this_machine_unless_told_otherwise(address, detector, tmp_path):
    def reached(host: str, address: str) -> bool:
        port = int(address.rsplit(':', 1)[1])
        with socket.socket() as visitor:
            visitor.settimeout(10)
            return visitor.connect_ex((host, port)) == 0

    # All of 127.0.0.0/8 is this machine; a server that listens everywhere has it.
    assert reached('127.0.0.1', address) and not reached('127.0.0.2', address)
    with served(detector, tmp_path, host='0.0.0.0') as open_address:
        assert reached('127.0.0.2', open_address)
        assert status(open_address, Host='my.name', Origin='http://my.name') == 200


def status(address: str, path: str = '/config', **headers: str) -> int:
    request = urllib.request.Request(address + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_requests_of_other_sites_are_refused(address):
    port = address.rsplit(':', 1)[1]
    for host in (f'127.0.0.1:{port}', f'localhost:{port}'):
        assert status(address, Host=host) == 200
        assert status(address, Host=host, Origin=f'http://{host}') == 200
        for origin in ('http://evil.example', 'http://localhost:1', 'null'):
            assert status(address, Host=host, Origin=origin) == 403
    for host in (f'evil.example:{port}', '127.0.0.1.evil.example', '127.0.0.2'):
        assert status(address, Host=host) == 403
        assert status(address, '/gradio_api/upload', Host=host) == 403


def test_no_other_files(detector, picture, tiny, repo_root, tmp_path, monkeypatch):
    """None are served, whatever the environment allows, and none are read."""
    monkeypatch.setenv('GRADIO_ALLOWED_PATHS', str(tmp_path))
    private = tmp_path / 'private.png'
    private.write_bytes(picture)
    (served_folder := tmp_path / 'served').mkdir()
    watched = WatchedDetector(detector)
    with served(watched, served_folder) as address:
        client = Client(address)
        for path in (private, tiny[0], repo_root / 'pyproject.toml'):
            assert client.status_of(f'/gradio_api/file={path}') in (403, 404)
            path = f'{served_folder}/../{path}'
            assert client.status_of(f'/gradio_api/file={path}') in (403, 404)
        for path in ('/docs', '/openapi.json'):
            assert client.status_of(path) == 404
        assert not client.detect(private)['success']
    assert watched.calls == []


def test_upload_is_capped(address, folder):
    before = set(folder.rglob('*'))
    with pytest.raises(urllib.error.HTTPError) as caught:
        Client(address).upload('a.png', bytes(1_100_000))
    assert caught.value.code == 413
    assert set(folder.rglob('*')) == before


def test_one_request_at_a_time(detector, picture, tmp_path):
    watched = WatchedDetector(detector, pause=0.2)
    said = []
    with served(watched, tmp_path) as address:

        def visit() -> None:
            client = Client(address)
            said.append(client.detect(client.upload('a.png', picture))['success'])

        visitors = [threading.Thread(target=visit) for _ in range(4)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
    assert said == [True] * 4
    assert len(watched.calls) == 4 and watched.most == 1


def test_files_are_deleted_after_a_while(detector, picture, tmp_path):
    with served(detector, tmp_path, kept=1) as address:
        client = Client(address)
        path = Path(client.upload('a.png', picture))
        drawn = Path(client.detect(path)['output']['data'][1]['path'])
        assert path.exists()
        end = time.monotonic() + 30
        while path.exists() or drawn.exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        status = client.ask('threshold.change', 0.7, None)['output']['data'][0]
    assert 'a.png is no longer kept: drop it once more' in status


def test_analytics_are_off(address):
    config = Client(address).config
    assert config['analytics_enabled'] is False
    assert not config.get('run_history')
    theme = Client(address).get('/theme.css').decode()
    assert 'system-ui' in theme
    assert not re.search(r'@import|url\(["\']?(https?:)?//', theme)  # fonts of others
    (box,) = (part for part in config['components'] if part['type'] == 'checkbox')
    assert box['props']['interactive'] is False and 'tta_model' in box['props']['label']


def test_port(detector, tmp_path):
    """A taken one is reported, and it is free again afterwards."""
    port = free_port()
    page = WebPage(detector, tmp_path, 'tiny')
    for _ in range(2):
        with page.serve(port=port) as address:
            assert Client(address.rstrip('/')).status_of('/') == 200
            with pytest.raises(OSError, match=f'127.0.0.1, port {port}: taken'):
                with page.serve(port=port):
                    raise AssertionError('not reached')
