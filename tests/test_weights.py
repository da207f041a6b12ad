"""The detector in the package: real faces, with and without PyTorch."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmdet_srn import FaceDetector, weights
from mmdet_srn.evaluation.parity import compare_detections
from tests.test_imports import BLOCKER

ASTRONAUT = (172, 66, 274, 188)  # xyxy; from the eyebrows' arch to the chin, by eye


@pytest.fixture(scope='module')
def astronaut() -> np.ndarray:
    """scikit-image's photograph, BGR (512, 512, 3)."""
    return pytest.importorskip('skimage.data').astronaut()[:, :, ::-1].copy()


@pytest.fixture(scope='module')
def detector() -> FaceDetector:
    return FaceDetector(device='cpu')


def iou(first, second) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    inner = (high - low).clip(min=0).prod()
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return inner / (sum(areas) - inner)


def scene(astronaut: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, list]:
    """Her portrait several times in one picture; where its faces are."""
    image = np.full((480, 640, 3), 110, np.uint8)
    boxes, left = [], 5
    portrait = astronaut[:240, 110:350]
    face = np.array(ASTRONAUT) - (110, 0, 110, 0)
    for size in sizes:
        small = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)
        top = 470 - size
        image[top : top + size, left : left + size] = small
        boxes.append(face * size / 240 + (left, top, left, top))
        left += size + 10
    return image, boxes


def test_a_portrait(detector, astronaut):
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    assert iou(faces.bboxes[0], ASTRONAUT) > 0.5


def test_the_file_from_free_sources(astronaut):
    config = weights.configs_folder() / f'{weights.FREE}.py'
    file = weights.weights_file('.pth', weights.FREE)
    faces = FaceDetector(config, file, device='cpu').detect(astronaut)
    assert len(faces) == 1
    assert iou(faces.bboxes[0], ASTRONAUT) > 0.5


@pytest.mark.parametrize('sizes', [[240, 160, 110, 75], [60, 50, 60, 50]])
def test_a_made_scene(detector, astronaut, sizes):
    image, boxes = scene(astronaut, sizes)
    faces = detector.detect(image)
    assert len(faces) == len(boxes)
    for box in boxes:
        assert max(iou(box, found) for found in faces.bboxes) > 0.4


def test_a_picture_without_faces(detector):
    image = pytest.importorskip('skimage.data').rocket()[:, :, ::-1].copy()
    assert len(detector.detect(image)) == 0


def test_the_same_faces_without_pytorch(detector, astronaut, tmp_path):
    """In a process in which neither torch nor mmdet can be imported."""
    pytest.importorskip('onnxruntime')
    images = [astronaut, scene(astronaut, [200, 100, 60])[0]]
    files = []
    for number, image in enumerate(images):
        files.append(str(tmp_path / f'{number}.png'))
        cv2.imwrite(files[-1], image)
    code = """
import runpy
sys.argv = ['mmdet_srn', *sys.argv[1:], '--score-thr', '0.05', '--no-clip']
runpy.run_module('mmdet_srn', run_name='__main__')
"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', BLOCKER + code, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / 'detections' / 'faces.jsonl').read_text().splitlines()
    config = Config.fromfile(weights.config_file())
    config.model.test_cfg.second_step = 'dense'  # an exported file asks no queries
    file = weights.weights_file('.pth')
    precise = FaceDetector(config, file, device='cpu', score_thr=0.05, clip=False)
    for line, image in zip(lines, images, strict=True):
        found, expected = json.loads(line), precise.detect(image)
        boxes = np.array(found['bboxes']).reshape(-1, 4)
        theirs = (boxes, np.array(found['scores']))
        parity = compare_detections((expected.bboxes, expected.scores), theirs)
        assert len(expected) and parity.same, parity


@pytest.mark.parametrize('file', weights.SHA256)
def test_files(file, monkeypatch):
    name, _, suffix = file.partition('.')
    path = weights.weights_file('.' + suffix, name)
    assert path.name == file and path.stat().st_size < 8.5e6
    card = path.with_name('README.md').read_text()
    assert weights.SHA256[file] in card
    monkeypatch.setitem(weights.SHA256, file, '0' * 64)
    with pytest.raises(ValueError, match=f'{file}.*SHA-256'):
        weights.weights_file('.' + suffix, name)


def test_a_file_that_is_not_there(monkeypatch):
    with pytest.raises(ValueError, match='absent'):
        weights.weights_file('.pth', 'absent')
    monkeypatch.setitem(weights.SHA256, 'absent.pth', '0' * 64)
    with pytest.raises(FileNotFoundError, match='absent'):
        weights.weights_file('.pth', 'absent')


def test_config_is_shipped():
    assert weights.config_file().is_file()
