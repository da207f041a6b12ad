import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tests.test_detector.videos import write_video

# mmdet is imported where it is used: what it prints then, pytest captures. From here,
# in a process of several, it would come after the summary.
if TYPE_CHECKING:
    from mmdet_srn import FaceDetector


@pytest.fixture(scope='session')
def make_tiny(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Path, Path]]:
    """Makes config and checkpoint of a tiny detector, once for each config."""
    from tests.test_detector.tiny_model import make_tiny_model

    return functools.cache(
        lambda more='': make_tiny_model(tmp_path_factory.mktemp('tiny'), more)
    )


@pytest.fixture(scope='session')
def tiny(make_tiny) -> tuple[Path, Path]:
    """Config and checkpoint of a tiny detector."""
    return make_tiny()


@pytest.fixture(scope='session')
def tiny_multi_scale(make_tiny) -> tuple[Path, Path]:
    """The same with a multi-scale test."""
    return make_tiny(
        "tta_model = dict(type='SRNMultiScaleTest', max_size=90)\n"
        'tta_pipeline = _base_.test_pipeline\n'
    )


@pytest.fixture(scope='session')
def tiny_narrow(make_tiny) -> tuple[Path, Path]:
    """The same where images are resized to fit 64x64, which a long strip cannot."""
    from tests.test_detector.tiny_model import change_pipeline

    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    return make_tiny(change_pipeline(f'[1] = {resize}'))


@pytest.fixture(scope='session')
def detector(tiny: tuple[Path, Path]) -> 'FaceDetector':
    from mmdet_srn import FaceDetector

    return FaceDetector(*tiny, device='cpu')


@pytest.fixture
def shapes(monkeypatch) -> list[tuple[int, int]]:
    """Height and width of each image that mmdet gets meanwhile."""
    from mmdet_srn.detector.mmdet_backend import MMDetBackend

    shapes, call = [], MMDetBackend.__call__

    def spy(backend, images, *args):
        shapes.extend(image.shape[:2] for image in images)
        return call(backend, images, *args)

    monkeypatch.setattr(MMDetBackend, '__call__', spy)
    return shapes


@pytest.fixture(scope='session')
def make_image() -> Callable[..., np.ndarray]:
    """Seeded pictures with some structure."""

    def make(seed: int = 0, height: int = 64, width: int = 96) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    return make


@pytest.fixture
def photo(tmp_path: Path, make_image: Callable[..., np.ndarray]) -> Path:
    path = tmp_path / 'my photo.png'
    cv2.imwrite(str(path), make_image())
    return path


@pytest.fixture
def tree(tmp_path, make_image, monkeypatch) -> Path:
    """A working folder with pictures in folders, a video, and other things."""
    names = ['b.jpg', 'in/a.png', 'in/c.JPG', 'in/deep/d.jpg', 'in/.hidden.jpg']
    names += ['in/.cache/e.jpg', 'out/b_faces.jpg', 'in/raw.jpg']
    for i, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), make_image(i))
    os.rename(tmp_path / 'in/raw.jpg', tmp_path / 'in/photo.raw')
    (tmp_path / 'in/notes.txt').write_text('hello')
    write_video(tmp_path / 'in/clip.avi')
    monkeypatch.chdir(tmp_path)
    return tmp_path
