"""Blur and JPEG artefacts."""

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

from mmdet_srn.datasets.transforms import DegradeImage

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def degraded(**arguments):
    np.random.seed(0)
    step = TRANSFORMS.build(dict(type='DegradeImage', **arguments))
    return step({'img': IMAGE.copy()})['img']


def test_blurs_then_compresses():
    blurred = cv2.GaussianBlur(IMAGE, (0, 0), 1.5)
    options = [cv2.IMWRITE_JPEG_QUALITY, 30]
    expected = cv2.imdecode(cv2.imencode('.jpg', blurred, options)[1], 1)
    found = degraded(prob=1.0, sigma=(1.5, 1.5), quality=(30, 30))
    np.testing.assert_array_equal(found, expected)


def test_low_quality_is_further_from_the_image():
    errors = []
    for quality in (90, 10):
        found = degraded(prob=1.0, sigma=(1e-3, 1e-3), quality=(quality, quality))
        assert found.shape == IMAGE.shape
        assert found.dtype == np.uint8
        errors.append(np.abs(found.astype(int) - IMAGE).mean())
    assert 0 < errors[0] < errors[1]


def test_each_has_its_probability():
    np.random.seed(0)
    step = DegradeImage(prob=0.3, sigma=(0.5, 2.0), quality=(20, 80))
    drawn = [step._draw() for _ in range(2000)]
    for column, low, high in ((0, 0.5, 2.0), (1, 20, 80)):
        values = [pair[column] for pair in drawn]
        used = [value for value in values if value is not None]
        assert len(used) / len(values) == pytest.approx(0.3, abs=0.04)
        assert low <= min(used) < max(used) <= high


def test_prob_0_changes_nothing():
    np.testing.assert_array_equal(degraded(prob=0.0), IMAGE)


@pytest.mark.parametrize(
    'arguments', [{'prob': 1.1}, {'sigma': (0.0, 1.0)}, {'quality': (80, 20)}]
)
def test_odd_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        DegradeImage(**arguments)
