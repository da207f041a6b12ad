"""webdemo.py as it is called; the page: tests/test_detector/test_web_*.py."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.test_detector.tiny_model import make_tiny_model
from tests.test_detector.web_client import free_port
from tests.tool_loader import find_tool, load_tool

TOOL = find_tool('webdemo')


@pytest.fixture(scope='module')
def tool():
    return load_tool('webdemo')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> str:
    """Its config lies beside it."""
    return str(make_tiny_model(tmp_path_factory.mktemp('model'))[1])


@pytest.fixture
def needs_gradio():
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')


def test_serves_until_a_signal_comes(needs_gradio, checkpoint, tmp_path):
    """Two at once, as each takes seconds to start."""
    pages = {
        number: start(checkpoint, tmp_path / number.name)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for number, (process, port, folder) in pages.items():
            log = folder / 'log'
            end = time.monotonic() + 300
            while 'stop with Ctrl-C' not in log.read_text():
                assert process.poll() is None and time.monotonic() < end, (
                    log.read_text()
                )
                time.sleep(0.05)
            address = f'http://127.0.0.1:{port}/'
            assert f'\n{address} (stop with Ctrl-C)\n' in f'\n{log.read_text()}'
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b'tiny, tiny.pth' in answer.read()
            assert len(list(folder.glob('mmdet_srn_web_*'))) == 1
            process.send_signal(number)
        for number, (process, _, folder) in pages.items():
            status = process.wait(timeout=300)
            assert status == (0 if number == signal.SIGINT else 143)
            assert not list(folder.glob('mmdet_srn_web_*'))
            assert 'Traceback' not in (folder / 'log').read_text()
    finally:
        for process, *_ in pages.values():
            process.kill()


def test_opencv_is_limited(needs_gradio, tmp_path):
    """A TIFF file that has its size twice: Pillow reads one, OpenCV the other."""
    sizes = [(256, 12000), (256, 16), (257, 12000), (257, 16)]
    rest = [(258, 8), (259, 1), (262, 1), (273, 150), (277, 1), (278, 12000), (279, 9)]
    tags = b''.join(struct.pack('<HHII', tag, 4, 1, n) for tag, n in sizes + rest)
    head = struct.pack('<2sHIH', b'II', 42, 8, len(sizes + rest))
    path = tmp_path / 'twice.tif'
    path.write_bytes((head + tags).ljust(200, b'\0'))
    code = (
        'import sys, pathlib, resource\n'
        'from tests.tool_loader import load_tool\n'
        "WebPage = load_tool('webdemo').WebPage\n"
        'from mmdet_srn.detector import images\n'
        'class Detector: read = staticmethod(images.read_image)\n'
        'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        "page = WebPage(Detector, None, '')\n"
        'before = peak()\n'
        'try: page.read(pathlib.Path(sys.argv[1]))\n'
        'except images.ImageError as error: print(error)\n'
        "print('grown by', (peak() - before) >> 10)"
    )
    environment = {**os.environ}  # with the limit of the package that is loaded here
    environment.pop('OPENCV_IO_MAX_IMAGE_PIXELS', None)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, path],
        cwd=TOOL.parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'MAX_IMAGE_PIXELS' in done.stdout, done
    assert int(done.stdout.split()[-1]) < 50  # megabytes


def start(checkpoint: str, folder: Path) -> tuple[subprocess.Popen, int, Path]:
    """The command, its port, and the folder of its output and temporary files."""
    folder.mkdir()
    port = free_port()
    command = [sys.executable, '-W', 'ignore', TOOL, '--checkpoint', checkpoint]
    command += ['--device', 'cpu', '--port', str(port)]
    environment = {
        **os.environ,
        'PYTHONPATH': str(TOOL.parents[2]),
        'OMP_NUM_THREADS': '1',
        'TMPDIR': str(folder),
    }
    with (folder / 'log').open('w') as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # a shell's background jobs, as CI may be, hand down an ignored SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    return process, port, folder


def test_what_the_command_line_says(tool, needs_gradio, checkpoint, monkeypatch):
    asked = {}

    class Stopped(Exception):
        pass

    class Page:
        def __init__(self, detector, folder, *arguments):
            asked['page'] = arguments
            assert detector.score_thr == tool.LEAST_SCORE

        def serve(self, *arguments):
            asked['serve'] = arguments
            raise Stopped

    monkeypatch.setattr(tool, 'WebPage', Page)
    arguments = ['--checkpoint', checkpoint, '--device', 'cpu']
    with pytest.raises(Stopped):
        tool.serve(tool.parse_args(arguments))
    assert asked == dict(page=('tiny, tiny.pth', 0.5, 2048), serve=(None, None, 20))
    arguments += ['--host', '0.0.0.0', '--port', '9', '--max-upload', '3']
    arguments += ['--max-size', '0', '--score-thr', '0.25']
    with pytest.raises(Stopped):
        tool.serve(tool.parse_args(arguments))
    assert asked == dict(page=('tiny, tiny.pth', 0.25, None), serve=('0.0.0.0', 9, 3))


def test_missing_gradio_is_said_before_the_model_is_loaded(tool, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert tool.main(['--checkpoint', 'absent.pth']) == 1
    error = capsys.readouterr().err
    assert error.startswith('webdemo: ') and 'pip install "mmdet_srn[web]"' in error


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--config', 'srn_r50_fpn_widerface.py'], '--config needs --checkpoint'),
        (['--checkpoint', 'absent.onnx'], r'absent\.onnx'),
    ],
)
def test_errors(tool, needs_gradio, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert tool.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith('webdemo: ') and re.search(message, error)


@pytest.mark.parametrize(
    'arguments',
    [
        ['--max-size', '-1'],
        ['--max-upload', '0'],
        ['--score-thr', '0.01'],
        ['--score-thr', '2'],
        ['photo.jpg'],
    ],
)
def test_wrong_arguments(tool, arguments):
    with pytest.raises(SystemExit) as stopped:
        tool.main(arguments)
    assert stopped.value.code == 2
