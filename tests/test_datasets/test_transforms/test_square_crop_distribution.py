"""Both orders of the training augmentation give the same distribution.

Kolmogorov and Smirnov's test of two samples with independent draws. Its statistic
exceeds the bound used here by chance once in ten thousand times (by the asymptotic
formula, which is on the safe side for numbers that repeat), and the seeds are fixed.
The same bound tells pipelines apart that differ in one setting.
"""

import math

import cv2
import numpy as np
import pytest
from mmdet.structures.bbox import get_box_tensor
from scipy.stats import ks_2samp

from tests.reference.naive_pipeline import (
    build,
    decided_first,
    info,
    naive_order,
    photograph,
    run,
    write,
)

SAMPLES = 400
BOUND = math.sqrt(-math.log(1e-4 / 2) / SAMPLES)  # of the statistic, both of one size
SIZE = 72  # squares of up to 128 pixels: none is reduced


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Four, upright and lying, with a few faces or many."""
    folder = tmp_path_factory.mktemp('photographs')
    rng = np.random.default_rng(0)
    infos = []
    for index, (height, width, count) in enumerate(
        [(64, 96, 1), (64, 96, 6), (64, 75, 3), (100, 64, 25)]
    ):
        path = write(folder / f'{index}.jpg', photograph(height, width, index))
        sizes = rng.integers(2, 20, (count, 2))
        corners = (rng.random((count, 2)) * ((width, height) - sizes)).astype(int)
        boxes = np.hstack([corners, corners + sizes])
        ignored = np.arange(count) % 5 == 4
        infos.append(info(path, boxes.tolist(), ignored))
    return infos


def _describe(results, spread):
    """Numbers that tell one sample from another; spread: of the photograph's pixels."""
    image = results['img'].astype(np.float32)
    boxes = get_box_tensor(results['gt_bboxes']).numpy()
    light = image.max(axis=-1)
    seen = light != 0
    bright = image[seen] if seen.any() else np.zeros((1, 3))
    half = image.shape[1] // 2
    return {
        'scale': results['scale_factor'][0],
        'share of black': 1 - seen.mean(),
        'faces': len(boxes),
        'faces to find': np.count_nonzero(results['gt_ignore_flags'] == 0),
        'height of faces': np.median(boxes[:, 3] - boxes[:, 1]) if len(boxes) else 0,
        'place of faces': boxes[:, ::2].mean() if len(boxes) else 0,
        'lowest face': boxes[:, 3].max() if len(boxes) else 0,
        'brightness': bright.mean(),
        'contrast': bright.std() / spread,
        'brightest': image.max(),
        'darkest': image.min(),
        'blue over red': (bright[:, 0] - bright[:, 2]).mean(),
        'colour': (bright.max(axis=1) - bright.min(axis=1)).mean(),
        'left over right': light[:, :half].mean() - light[:, half:].mean(),
    }


def _sample(steps, photographs, seed):
    np.random.seed(seed)
    steps = build(*steps)
    spreads = [cv2.imread(photograph['img_path']).std() for photograph in photographs]
    rows = []
    for index in range(SAMPLES):
        which = index % len(photographs)
        results = run(steps, dict(photographs[which]), {})
        rows.append(_describe(results, spreads[which]))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture(scope='module')
def naive(photographs):
    return _sample(naive_order(SIZE), photographs, 1)


def _statistics(one, other):
    return {name: ks_2samp(one[name], other[name]).statistic for name in one}


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_same_distribution(photographs, naive, dtype):
    ours = _sample(decided_first(SIZE, dtype=dtype), photographs, 2)
    for name, statistic in _statistics(naive, ours).items():
        assert statistic < BOUND, name


@pytest.mark.parametrize(
    ('names', 'change'),
    [
        (('share of black', 'scale'), dict(expand_prob=0.2)),
        (('share of black', 'scale'), dict(expand=(1, 1.3))),
        (('scale',), dict(full_prob=1.0)),
        (('left over right',), dict(flip=dict(prob=1.0))),
    ],
    ids=str,
)
def test_other_settings_are_told_apart(photographs, naive, names, change):
    ours = _sample(decided_first(SIZE, **change), photographs, 2)
    statistics = _statistics(naive, ours)
    for name in names:
        assert statistics[name] > BOUND, statistics


@pytest.mark.parametrize(
    ('name', 'colours'),
    [
        ('contrast', dict(contrast_range=(1, 1))),
        ('colour', dict(saturation_range=(0.1, 0.4))),
        ('blue over red', dict(swap_channels=False)),
    ],
)
def test_other_colours_are_told_apart(photographs, naive, name, colours):
    steps = decided_first(SIZE)
    (distort,) = (step for step in steps if step['type'] == 'PhotoMetricDistortion')
    distort.update(colours)
    statistics = _statistics(naive, _sample(steps, photographs, 2))
    assert statistics[name] > BOUND, statistics
