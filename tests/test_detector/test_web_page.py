"""The page without a browser; with one: test_web_browser.py."""

import json
import os
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector.web_page import WebPage


@pytest.fixture(scope='module')
def page(tiny, tmp_path_factory) -> WebPage:
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')
    detector = FaceDetector(*tiny, device='cpu', score_thr=0.05)
    return WebPage(detector, tmp_path_factory.mktemp('served'), 'a <tiny> model')


@pytest.fixture(scope='module')
def address(page):
    with page.serve(max_upload=1) as address:
        yield address


def connect(address: str):
    """Gradio's own client, without its telemetry."""
    from gradio_client import Client

    with mock.patch.dict(os.environ, GRADIO_ANALYTICS_ENABLED='False'):
        return Client(address, verbose=False, download_files=False)


def ask(client, path: Path | None, threshold: float = 0.5) -> tuple:
    """Upload a file; return what the page shows, with paths on the server."""
    return submit(client, path, threshold).result(timeout=300)


def submit(client, path: Path | None, threshold: float = 0.5):
    from gradio_client import handle_file

    return client.submit(handle_file(path), threshold, False, api_name='/update')


def test_results_lie_in_its_folder_for_a_while(page, photo, tmp_path):
    (folder := tmp_path / 'served').mkdir()
    wanted = page.detector.detect(photo)
    page = WebPage(page.detector, folder, 'tiny', kept=5)
    with page.serve() as address:
        client = connect(address)
        status, drawn, table, results = ask(client, photo)
        number = int((wanted.scores >= 0.5).sum())
        assert 0 < number < len(wanted) and f'<b>{number} faces</b>' in status
        files = [Path(file['path']) for file in results]
        assert [file.name for file in files] == [
            *('my photo_faces.jpg', 'faces.jsonl', 'faces.csv')
        ]
        assert all(folder in file.parents for file in files)
        record = json.loads(files[1].read_text())
        assert record['image'] == 'my photo.png'  # no folder of the server
        boxes = np.float32(record['bboxes'])
        np.testing.assert_array_equal(boxes, wanted.bboxes[:number])
        rows = np.array(table['data'], float)
        np.testing.assert_allclose(rows[:, 1:], boxes, atol=5.1e-4)
        assert Path(drawn['path']) == files[0] and cv2.imread(str(files[0])).any()

        end = time.monotonic() + 300
        while uploads := [path for path in folder.rglob('*.*') if path.is_file()]:
            assert time.monotonic() < end, uploads
            time.sleep(0.1)


def test_one_request_at_a_time(page, address, photo, make_image, monkeypatch):
    faces, lock, alone = page.detector.detect(photo), threading.Lock(), []

    def detect(*args, **kwargs):
        alone.append(lock.acquire(blocking=False))
        time.sleep(0.2)
        lock.release()
        return faces

    monkeypatch.setattr(page.detector, 'detect', detect)
    client, jobs = connect(address), []
    for seed in (1, 2, 3):
        path = photo.with_name(f'{seed}.png')
        cv2.imwrite(str(path), make_image(seed))
        jobs.append(submit(client, path))
    for job in jobs:
        job.result(timeout=300)
    assert alone == [True] * 3


def big_picture() -> bytes:
    """A BMP file of a few bytes that says it has 20000 × 5001 pixels."""
    content = cv2.imencode('.bmp', np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    return content[:18] + struct.pack('<ii', 20_000, 5_001) + content[26:]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('<b onload=x>.txt', b'no picture', 'no image that OpenCV can read'),
        ('empty.jpg', b'', 'empty'),
        ('a.bmp', big_picture(), '20000 × 5001 pixels are more than 100 million'),
        ('gone.png', None, 'no longer kept'),
    ],
)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_unusable_picture(page, tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    status, *others = page.update(str(path), 0.5, False)
    assert message in status and others == [None] * 3
    assert name.replace('<', '&lt;').replace('>', '&gt;') in status
    assert str(tmp_path) not in status and '<b onload' not in status


def test_upload_is_limited(page, address, tmp_path):
    path = tmp_path / 'large.png'
    path.write_bytes(bytes(1_100_000))
    before = set(page.folder.rglob('*'))
    with pytest.raises(Exception, match='413|too large|exceed'):
        ask(connect(address), path)
    assert set(page.folder.rglob('*')) == before


# -------------------------------------------------------------------- who may do what


def status(address: str, path: str = 'config', **headers: str) -> int:
    request = urllib.request.Request(address + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_requests_of_other_sites_are_refused(address):
    port = address.rstrip('/').rsplit(':', 1)[1]
    for host in (f'127.0.0.1:{port}', f'localhost:{port}'):
        assert status(address, Host=host) == 200
        assert status(address, Host=host, Origin=f'http://{host}') == 200
        for origin in ('http://evil.example', 'http://localhost:1', 'null'):
            assert status(address, Host=host, Origin=origin) == 403
    for host in (f'evil.example:{port}', '127.0.0.1.evil.example', '127.0.0.2'):
        assert status(address, Host=host) == 403
        assert status(address, 'gradio_api/upload', Host=host) == 403


def test_only_this_machine_unless_told_otherwise(page, address):
    def reached(address: str) -> bool:
        # All of 127.0.0.0/8 is this machine; a server that listens everywhere has it.
        with socket.socket() as visitor:
            visitor.settimeout(10)
            port = int(address.rstrip('/').rsplit(':', 1)[1])
            return visitor.connect_ex(('127.0.0.2', port)) == 0

    assert not reached(address)
    with page.serve(host='0.0.0.0') as open_address:
        assert reached(open_address)
        assert status(open_address, Host='my.name', Origin='http://my.name') == 200
        port = int(open_address.rstrip('/').rsplit(':', 1)[1])
        with pytest.raises(OSError, match=f'0.0.0.0, port {port}: taken'):
            with page.serve('0.0.0.0', port):
                raise AssertionError('not reached')


def test_no_other_files_and_no_other_hosts(page, address, photo):
    for path in (photo, Path(__file__)):
        for start in ('', f'{page.folder}/..'):
            quoted = urllib.request.pathname2url(f'{start}{path}')
            assert status(address, f'gradio_api/file={quoted}') in (403, 404)
    assert status(address, 'docs') == status(address, 'openapi.json') == 404
    config = connect(address).config
    assert config['analytics_enabled'] is False and not config.get('run_history')
    assert 'a <tiny> model' not in json.dumps(config)
    with urllib.request.urlopen(f'{address}theme.css', timeout=60) as answer:
        style = answer.read().decode()
    assert style and not re.search(r'@import|url\(["\']?(https?:)?//', style)
