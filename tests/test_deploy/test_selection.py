from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_srn.deploy.selection import Selection

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NMS = dict(type='nms', iou_threshold=0.5)
LEAST = dict(nms=NMS, max_per_img=9)


def test_paper():
    cfg = Config.fromfile(CONFIGS / 'srn_r50_fpn_widerface.py').model.test_cfg
    assert Selection.from_test_cfg(cfg) == Selection(
        score_thr=0.0,
        small_map_cells=0,
        small_map_score_thr=0.0,
        nms_pre=-1,
        max_before_nms=2000,
        iou_threshold=0.5,
        offset=0,
        max_per_img=750,
    )


def test_released():
    cfg = Config.fromfile(CONFIGS / 'srn_r50_fpn_widerface_released.py').model.test_cfg
    assert Selection.from_test_cfg(cfg) == Selection(
        score_thr=0.05,
        small_map_cells=120,
        small_map_score_thr=0.0,
        nms_pre=6000,
        max_before_nms=-1,
        iou_threshold=0.4,
        offset=1,
        max_per_img=750,
    )


@pytest.mark.parametrize(
    'same',
    [
        dict(nms=dict(iou_threshold=0.5)),
        dict(nms=dict(type='nms', iou_thr=0.5)),
        dict(nms=dict(NMS, class_agnostic=True, split_thr=5)),
        dict(min_bbox_size=0),
        dict(second_step='sparse'),  # another way to the same boxes
    ],
    ids=str,
)
def test_what_changes_nothing(same):
    assert Selection.from_test_cfg({**LEAST, **same}) == Selection.from_test_cfg(LEAST)


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (dict(nms=dict(type='soft_nms', iou_threshold=0.5)), 'soft_nms'),
        (dict(nms=dict(NMS, score_threshold=0.3)), 'score_threshold'),
        (dict(nms=dict(NMS, max_num=3)), 'max_num'),
        (dict(nms=dict(NMS, offset=2)), "'offset': 2"),
        (dict(nms=dict(type='nms')), 'iou_threshold=...'),
        (dict(nms=None), 'not None'),
        (dict(min_bbox_size=4), 'min_bbox_size, got 4'),
        (dict(max_per_img=-1), 'max_per_img, got -1'),
    ],
    ids=str,
)
def test_refuses_what_the_graph_does_not_do(other, message):
    with pytest.raises(ValueError, match=message):
        Selection.from_test_cfg({**LEAST, **other})
