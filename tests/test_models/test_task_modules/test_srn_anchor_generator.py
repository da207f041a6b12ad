import numpy as np
import pytest
from mmdet.registry import TASK_UTILS

import mmdet_srn  # noqa: F401

STRIDES = [4, 8, 16, 32, 64, 128]
# The two anchors' x2 - x1, y2 - y1 of the released code.
GOLDEN = {
    4: ((7, 9), (10.314, 13.142)),
    8: ((13, 17), (18.799, 24.456)),
    16: ((27, 35), (38.598, 49.912)),
    32: ((57, 71), (81.024, 100.823)),
    64: ((113, 141), (160.220, 199.818)),
    128: ((227, 283), (321.441, 400.637)),
}


@pytest.fixture
def generator():
    return TASK_UTILS.build(dict(type='SRNAnchorGenerator'))


def test_sizes_of_the_released_code(generator):
    assert generator.strides == [(s, s) for s in STRIDES]
    for stride, anchors in zip(STRIDES, generator.base_anchors, strict=True):
        boxes = anchors.numpy()
        sizes = boxes[:, 2:] - boxes[:, :2]
        assert sizes == pytest.approx(np.array(GOLDEN[stride]), abs=5e-4)
        centres = (boxes[:, 2:] + boxes[:, :2]) / 2
        assert centres == pytest.approx((stride - 1) / 2, abs=1e-5)


def test_number_of_anchors_at_1024(generator):
    sizes = [(1024 // s, 1024 // s) for s in STRIDES]
    counts = [len(a) for a in generator.grid_priors(sizes, device='cpu')]
    assert sum(counts) == 174_720
    assert sum(counts[:3]) / sum(counts) == pytest.approx(0.985, abs=5e-4)


def test_several_ratios_scale_fastest():
    generator = TASK_UTILS.build(
        dict(type='SRNAnchorGenerator', strides=[16], scales=[1, 2], ratios=[1, 4])
    )
    boxes = generator.base_anchors[0]
    sizes = (boxes[:, 2:] - boxes[:, :2] + 1).tolist()
    assert sizes == [[16, 16], [32, 32], [8, 32], [16, 64]]
