import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.analysis.surviving_share import clustered_cells, surviving_share
from mmdet_srn.models.losses.two_stage_focal_loss import survives
from tests.test_analysis.small_detector import CELLS, SIZE, build


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_clusters_are_a_share(height, width, share, seed):
    cells = clustered_cells(height, width, share, torch.Generator().manual_seed(seed))
    assert cells.shape == (height, width) and cells.dtype == torch.bool
    disc = 69  # cells within 4.5 of one
    number = int(cells.sum())
    assert share * height * width <= number < share * height * width + disc
    assert number == 0 or share > 0


def test_clusters_are_clustered():
    cells = clustered_cells(200, 200, 0.02, torch.Generator().manual_seed(0))
    neighbours = cells[1:, :] & cells[:-1, :]
    assert neighbours.sum() > 0.6 * cells.sum()


@pytest.fixture
def detector(tmp_path):
    return build(tmp_path)


def predict(detector, number=1):
    torch.manual_seed(2)
    sample = DetDataSample(
        metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))
    )
    with torch.no_grad():
        inputs = torch.randn(number, 3, *SIZE)
        return detector.predict(inputs, [sample.clone() for _ in range(number)])


def test_counts_what_the_first_step_leaves(detector):
    torch.manual_seed(2)
    with torch.no_grad():
        first = detector.bbox_head(detector.extract_feat(torch.randn(2, 3, *SIZE)))[0]
    kept = [survives(m[..., None], detector.bbox_head.theta).any(dim=1) for m in first]
    left = sum(int(each.sum()) for each in kept)
    with surviving_share(detector.bbox_head) as count:
        predict(detector, number=2)
    assert (count.cells, count.left) == (2 * sum(CELLS[:3]), left)
    assert 0 < left < count.cells
    assert count.percent == 100 * left / count.cells
    assert '_survivors' not in vars(detector.bbox_head)


@pytest.mark.parametrize('mode', ['dense', 'auto'])
def test_sets_it(detector, mode):
    detector.bbox_head.test_cfg.update(
        second_step=mode,
        max_before_nms=-1,
        nms=dict(type='nms', iou_threshold=1.0),
        max_per_img=10_000,
    )
    found = {}
    for percent in (0, 5, 100):
        with surviving_share(detector.bbox_head, percent) as count:
            found[percent] = predict(detector)[0].pred_instances
        # the last disc of each of three levels
        assert percent <= count.percent < percent + 100 * 3 * 69 / count.cells
        # no threshold, and NMS leaves all
        assert len(found[percent]) == 2 * (count.left + sum(CELLS[3:]))


def test_the_first_step_is_computed(detector):
    flops = {}
    for percent in (None, 0):
        with (
            surviving_share(detector.bbox_head, percent),
            FlopCounterMode(display=False) as counter,
        ):
            detector.bbox_head.test_cfg.second_step = 'dense'
            predict(detector)
        flops[percent] = counter.get_total_flops()
    assert flops[None] == flops[0]


def test_the_same_clusters_each_time(detector):
    boxes = []
    for seed in (0, 0, 1):
        with surviving_share(detector.bbox_head, 5, seed):
            boxes.append(predict(detector)[0].pred_instances.bboxes)
    assert torch.equal(boxes[0], boxes[1])
    assert boxes[0].shape != boxes[2].shape or not torch.equal(boxes[0], boxes[2])


def test_nothing_to_count(tmp_path):
    detector = build(tmp_path, stc_levels=())
    with surviving_share(detector.bbox_head, 5) as count:
        predict(detector)
    assert count.percent is None
