from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_srn.models.dense_heads.selection import Selection

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


@pytest.mark.parametrize(
    ('config', 'expected', 'max_per_level'),
    [
        ('srn_r50_fpn_widerface', Selection(0.0, 0, 0.0, -1, 2000), 2000),
        ('srn_r50_fpn_widerface_released', Selection(0.05, 120, 0.0, 6000, -1), 6000),
    ],
)
def test_protocols(config, expected, max_per_level):
    selection = Selection.from_test_cfg(
        Config.fromfile(CONFIGS / f'{config}.py').model.test_cfg
    )
    assert selection == expected
    assert selection.max_per_level == max_per_level


@pytest.mark.parametrize('kind', [int, torch.tensor])
def test_threshold(kind):
    selection = Selection(0.05, 120, 0.01)
    assert float(selection.threshold(kind(119))) == pytest.approx(0.01)
    assert float(selection.threshold(kind(120))) == pytest.approx(0.05)
    assert selection._replace(small_map_cells=0).threshold(kind(1)) == 0.05
