"""The command between pipes, in processes of their own."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest
from PIL import Image

from mmdet_srn.detector.stdin import is_picture
from tests.test_detector.constant_onnx import write_onnx
from tests.test_detector.videos import write_video
from tests.tool_loader import run_light


@pytest.fixture
def model(tmp_path) -> Path:
    """A network that finds one face in any image, for onnxruntime."""
    pytest.importorskip('onnx', reason='needs onnx, of the extra onnx')
    pytest.importorskip('onnxruntime', reason='needs onnxruntime, of the extra onnx')
    return write_onnx(tmp_path / 'model.onnx')


def run(model: Path, content: bytes, *arguments: str) -> subprocess.CompletedProcess:
    words = ['-m', 'mmdet_srn', *arguments, '--checkpoint', model]
    return run_light(*words, cwd=model.parent, input=content)


def test_a_picture(model, make_image):
    content = cv2.imencode('.png', make_image())[1].tobytes()
    done = run(model, content, '-', '--out', 'out', '--format', 'wider')
    assert done.returncode == 0, done.stderr
    assert (model.parent / 'out/wider/images/stdin.txt').is_file()
    shutil.rmtree(model.parent / 'out')
    done = run(model, content, '-', '--out', '-')
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, done.stdout.splitlines())
    assert (record['image'], record['width'], record['height']) == ('stdin', 96, 64)
    assert 'frame' not in record and record['scores'] == [1.0]
    assert b'1 images, 1 faces; written to stdout' in done.stderr
    assert [path.name for path in model.parent.iterdir()] == ['model.onnx']


def test_a_video(model, tmp_path):
    """More of it than a pipe holds."""
    path = write_video(tmp_path / 'x.mkv', 60, (640, 480), codec='MJPG')
    assert path.stat().st_size > 2**16
    done = run(model, path.read_bytes(), '-', '--format', 'csv', '--out', '-')
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.decode().splitlines()
    assert header.startswith('image,frame,')
    frames = [(i, i / 10) for i in range(60)]
    assert rows == [
        f'stdin,{i},640,480,0.0,0.0,1.0,1.0,1.0,{time},' for i, time in frames
    ]


def test_what_is_neither(model):
    done = run(model, b'photo.jpg\nother.jpg\n', '-', '--out', 'out')
    assert done.returncode == 3 and done.stdout.startswith(b'0 images')
    assert b'left out: stdin is neither a picture nor a video' in done.stderr


def test_a_reader_that_has_enough(model, make_image):
    """Such as head: no message, the status of a broken pipe."""
    path = model.parent / 'a.png'
    path.write_bytes(cv2.imencode('.png', make_image())[1].tobytes())
    code = 'import os, runpy, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n'
    code += "sys.argv[0] = 'x'; runpy.run_module('mmdet_srn', run_name='__main__')"
    done = run_light('-c', code, path, '--out', '-', '--checkpoint', model)
    assert done.returncode == 141 and b'detect:' not in done.stderr


@pytest.mark.parametrize(
    'kind', ['jpeg', 'png', 'gif', 'bmp', 'tiff', 'ppm', 'webp', 'jpeg2000', 'avif']
)
def test_pictures_are_told_from_videos(kind, make_image):
    file = io.BytesIO()
    try:
        Image.fromarray(make_image()).save(file, kind)
    except (KeyError, OSError):
        pytest.skip(f'this Pillow has no {kind}')
    assert is_picture(file.getvalue()[:12])


@pytest.mark.parametrize(
    ('suffix', 'codec'),
    [('avi', 'MJPG'), ('mkv', 'mp4v'), ('mp4', 'mp4v'), ('mpg', 'MPG1')],
)
def test_videos_are_told_from_pictures(tmp_path, suffix, codec):
    path = write_video(tmp_path / f'x.{suffix}', codec=codec, fps=25)
    assert not is_picture(path.read_bytes()[:12])
