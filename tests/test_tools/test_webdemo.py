"""webdemo.py as it is called; the page: tests/test_detector/test_web_*.py."""

import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

import pytest

from tests.test_detector.tiny_model import make_tiny_model
from tests.tool_loader import TOOLS, find_tool, load_tool


@pytest.fixture
def tool():
    return load_tool('webdemo')


@pytest.fixture
def needs_gradio():
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, 0), (signal.SIGTERM, 143)]
)
def test_serves_until_a_signal_comes(
    tool, needs_gradio, tmp_path, monkeypatch, capsys, number, status
):
    checkpoint = make_tiny_model(tmp_path)[1]  # its config lies beside it
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    seen, done, main = [], threading.Event(), threading.main_thread()

    def visit() -> None:
        said = ''
        while not (found := re.search(r'(http\S+) \(stop with Ctrl-C\)', said)):
            if done.wait(0.1):
                return
            said += capsys.readouterr().out
        with urllib.request.urlopen(found[1], timeout=300) as answer:
            seen.append(b'tiny, tiny.pth' in answer.read())
        seen.append(len(list(tmp_path.glob('mmdet_srn_web_*'))))
        signal.pthread_kill(main.ident, number)

    threading.Thread(target=visit, daemon=True).start()
    arguments = ['--checkpoint', str(checkpoint), '--device', 'cpu']
    handlers = [signal.signal(n, signal.default_int_handler) for n in (2, 15)]
    try:
        assert tool.main(arguments) == status
    except SystemExit as stopped:
        assert stopped.code == status
    finally:
        done.set()
        for n, handler in zip((2, 15), handlers, strict=True):
            signal.signal(n, handler)
    assert seen == [True, 1]
    assert not list(tmp_path.glob('mmdet_srn_web_*'))


def test_opencv_is_limited(tmp_path):
    """A file that Pillow does not know, or takes for a smaller one, is limited, too."""
    code = (
        f'import runpy; runpy.run_path({str(find_tool("webdemo"))!r})\n'
        'import cv2, numpy as np\n'
        "head = b'P6 20000 5001 255 '\n"
        'try: cv2.imdecode(np.frombuffer(head, np.uint8), 1)\n'
        'except cv2.error as error: print(error)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=TOOLS.parent,
        env=dict(MMDET_SRN_LIGHT='1'),  # without the 4 s that mmdet takes
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'MAX_IMAGE_PIXELS' in done.stdout, done


def test_missing_gradio_is_said_before_the_model_is_loaded(tool, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert tool.main(['--checkpoint', 'absent.pth']) == 1
    error = capsys.readouterr().err
    assert error.startswith('webdemo: ') and 'pip install "mmdet_srn[web]"' in error


def test_missing_model(tool, needs_gradio, capsys):
    assert tool.main(['--checkpoint', 'absent.onnx']) == 1
    assert capsys.readouterr().err.startswith('webdemo: no exported detector absent')


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
        tool.parse_args(arguments)
    assert stopped.value.code == 2
