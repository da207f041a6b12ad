from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

# mmdet is imported where it is used: what it prints then, pytest captures. From here,
# in a process of several, it would come after the summary.
if TYPE_CHECKING:
    from mmdet_srn import FaceDetector


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Config and checkpoint of a tiny detector."""
    from tests.test_detector.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def detector(tiny: tuple[Path, Path]) -> 'FaceDetector':
    from mmdet_srn import FaceDetector

    return FaceDetector(*tiny, device='cpu')


@pytest.fixture
def make_image():
    """Seeded pictures with some structure."""

    def make(seed: int = 0, height: int = 64, width: int = 96) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    return make
