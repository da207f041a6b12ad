import json
import os

import cv2
import numpy as np
import pytest

from mmdet_srn.deploy.onnx_runner import OnnxRunner
from tests.test_deploy import small_srn
from tests.tool_loader import load_tool, run_without_stack

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), small_srn.images(1, 96, 128)[0])
    return path


def test_without_torch(image):
    model = small_srn.exported('detections')
    result = run_without_stack(
        'detect_onnx', model, image, image, '--score-thr', '0.7', '--threads', '1'
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    [(boxes, scores)] = OnnxRunner(model)(small_srn.images(1, 96, 128), 0.7)
    assert len(lines) == 2 and lines[0] == lines[1]
    assert lines[0]['image'] == str(image) and len(scores) > 10
    np.testing.assert_allclose(lines[0]['boxes'], boxes, atol=1e-3)
    np.testing.assert_allclose(lines[0]['scores'], scores, atol=1e-5)


def test_skips_what_it_cannot_read(image, tmp_path):
    """And reads an image whose name is not UTF-8."""
    broken, pipe = tmp_path / 'broken.jpg', tmp_path / 'pipe.jpg'
    broken.write_text('no image')
    os.mkfifo(pipe)
    image = image.rename(image.with_name(os.fsdecode(b'\xe9.png')))
    result = run_without_stack(
        'detect_onnx', small_srn.exported('detections'), broken, pipe, image
    )
    assert result.returncode == 1
    assert f'cannot read {broken}' in result.stderr and 'is a pipe' in result.stderr
    assert '2 images skipped' in result.stderr
    assert json.loads(result.stdout)['image'] == str(image)


@pytest.mark.parametrize('form', ['raw', None])
def test_errors(form, image, capsys):
    tool = load_tool('detect_onnx')
    model = small_srn.exported(form) if form else image.with_name('none.onnx')
    assert tool.main([str(model), str(image)]) == 1
    assert capsys.readouterr().err.startswith('detect_onnx: ')
