"""The page over HTTP; what it looks like is tested in test_web_browser.py."""

import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector.web_page import WebPage, load_gradio
from mmdet_srn.detector.web_results import WebResults
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


def test_detects(address, detector, picture, folder, tmp_path):
    client = Client(address)
    path = client.upload('a.png', picture)
    said = client.detect(path)
    assert said['success']
    status, drawn, table, *_ = said['output']['data']
    (tmp_path / 'a.png').write_bytes(picture)
    wanted = detector.detect(tmp_path / 'a.png')
    number = int((wanted.scores >= 0.5).sum())
    assert 0 < number < len(wanted)
    assert f'<b>{number} faces</b>' in status and '96 × 64 pixels' in status
    assert len(table['data']) == number
    # Uploads and results lie where they are deleted, and are to be had.
    for file in (path, drawn['path']):
        assert folder in Path(file).parents
        assert client.status_of(f'/gradio_api/file={file}') == 200


def test_threshold_does_not_run_the_detector(detector, picture, tmp_path):
    watched = WatchedDetector(detector)
    with served(watched, tmp_path) as address:
        client = Client(address)
        first = client.detect(client.upload('a.png', picture), 0.45)['output']['data']
        second = client.ask('threshold.change', None, 0.5, None)['output']['data']
        # What was shown before is not left on the disk.
        drawn = [str(path) for path in tmp_path.rglob('*_faces.jpg')]
        assert drawn == [second[1]['path']] != [first[1]['path']]
    assert 0 < len(second[2]['data']) < len(first[2]['data'])
    assert watched.calls == [False]


def test_text_of_others_is_no_html(address):
    client = Client(address)
    assert b'a <tiny> model' not in client.get('/config')
    name = '<b onload=x>.txt'
    said = client.detect(client.upload(name, b'nothing'))
    status = said['output']['data'][0]
    assert said['success'] and 'class="error"' in status
    assert 'is no picture' in status and '<b' not in status


def test_broken_upload_clears_what_was_shown(address, picture):
    client = Client(address)
    assert client.detect(client.upload('a.png', picture))['output']['data'][1]
    status, drawn, table, *_ = client.detect(client.upload('b.png', b'no'))['output'][
        'data'
    ]
    assert 'b.png is no picture, or a damaged one' in status
    assert drawn is None and table['data'] == []


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


def test_requests_of_other_sites_are_refused(address, detector, tmp_path):
    def status(address: str, path: str = '/config', **headers: str) -> int:
        request = urllib.request.Request(address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    port = address.rsplit(':', 1)[1]
    for host in (f'127.0.0.1:{port}', f'localhost:{port}'):
        assert status(address, Host=host) == 200
        assert status(address, Host=host, Origin=f'http://{host}') == 200
        for origin in ('http://evil.example', 'http://localhost:1', 'null'):
            assert status(address, Host=host, Origin=origin) == 403
    for host in (f'evil.example:{port}', '127.0.0.1.evil.example', '127.0.0.2'):
        assert status(address, Host=host) == 403
        assert status(address, '/gradio_api/upload', Host=host) == 403
    with served(detector, tmp_path, host='127.0.0.1') as told:
        assert status(told, Host='my.name', Origin='http://my.name') == 200


def test_no_other_files_are_served(address, repo_root, folder, tmp_path, tiny):
    client = Client(address)
    (tmp_path / 'private.txt').write_text('private')
    for path in (tmp_path / 'private.txt', tiny[0], repo_root / 'pyproject.toml'):
        assert client.status_of(f'/gradio_api/file={path}') in (403, 404)
        assert client.status_of(f'/gradio_api/file={folder}/../{path}') in (403, 404)
    for path in ('/docs', '/openapi.json'):
        assert client.status_of(path) == 404


def test_no_other_files_are_read(detector, picture, folder, tmp_path):
    """A request may name any path; only uploaded files are taken."""
    private = tmp_path / 'private.png'
    private.write_bytes(picture)
    watched = WatchedDetector(detector)
    (tmp_path / 'served').mkdir()
    with served(watched, tmp_path / 'served') as address:
        assert not Client(address).detect(private)['success']
    assert watched.calls == []


def test_allowed_paths_of_the_environment_do_not_count(detector, tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_ALLOWED_PATHS', str(tmp_path))
    (tmp_path / 'private.txt').write_text('private')
    (tmp_path / 'served').mkdir()
    with served(detector, tmp_path / 'served') as address:
        path = f'/gradio_api/file={tmp_path}/private.txt'
        assert Client(address).status_of(path) in (403, 404)


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
        status = client.ask('threshold.change', None, 0.7, None)['output']['data'][0]
    assert 'a.png is no longer kept here: drop it once more' in status


def test_analytics_are_off(address):
    config = Client(address).config
    assert config['analytics_enabled'] is False
    assert not config.get('run_history')
    theme = Client(address).get('/theme.css').decode()
    assert 'system-ui' in theme
    assert not re.search(r'@import|url\(["\']?(https?:)?//', theme)  # fonts of others


def test_multi_scale_needs_a_config_with_it(address):
    (box,) = (
        part['props']
        for part in Client(address).config['components']
        if part['type'] == 'checkbox'
    )
    assert box['interactive'] is False and 'tta_model' in box['info']


def test_taken_port(address, detector, tmp_path):
    port = int(address.rsplit(':', 1)[1])
    page = WebPage(WebResults(detector, tmp_path), 'tiny')
    with (
        pytest.raises(OSError, match=f'cannot listen at 127.0.0.1, port {port}: taken'),
        page.serve(port=port),
    ):
        raise AssertionError('not reached')


def test_port_is_free_again(detector, tmp_path):
    port = free_port()
    page = WebPage(WebResults(detector, tmp_path), 'tiny')
    for _ in range(2):
        with page.serve(port=port) as address:
            assert Client(address.rstrip('/')).status_of('/') == 200
