import numpy as np
import pytest
from mmengine.config import Config

from mmdet_srn.benchmark.untrained import UntrainedDetector, build_untrained
from tests.test_benchmark.small_detector import CELLS, SIZE, write_config

IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize('percent', [3, 100])
def test_leaves_the_share(tmp_path, percent):
    cfg = Config.fromfile(write_config(tmp_path))
    detector = UntrainedDetector(cfg, percent)
    boxes, scores = detector(IMAGE)
    assert boxes.shape == (len(scores), 4)
    assert detector.count['cells'] == sum(CELLS[:3])
    left = 100 * detector.count['left'] / detector.count['cells']
    assert percent <= left < percent + 5  # discs, in each of three maps


def test_seeded(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    one, other = (build_untrained(cfg.copy()).state_dict() for _ in range(2))
    assert all(value.equal(other[name]) for name, value in one.items())


def test_no_srn():
    with pytest.raises(ValueError, match='has no model'):
        build_untrained(Config())
    with pytest.raises(ValueError, match='SRNHead'):
        build_untrained(Config(dict(model=dict(type='ResNet', depth=18))))
