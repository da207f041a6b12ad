from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.benchmark.survivors import clustered_cells, survivors
from mmdet_srn.models.losses.two_stage_focal_loss import survives
from tests.test_benchmark.small_detector import CELLS, build, detect, noise

DISC = 69  # cells within 4.5 of one


@settings(max_examples=50)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_clusters_are_a_share(height, width, share, seed):
    cells = clustered_cells(height, width, share, torch.Generator().manual_seed(seed))
    assert cells.shape == (height, width) and cells.dtype == torch.bool
    number = int(cells.sum())
    assert share * height * width <= number < share * height * width + DISC
    assert number == 0 or share > 0


def test_clusters_are_clustered():
    cells = clustered_cells(200, 200, 0.02, torch.Generator().manual_seed(0))
    neighbours = cells[1:, :] & cells[:-1, :]
    assert neighbours.sum() > 0.6 * cells.sum()


@pytest.fixture
def detector(tmp_path):
    return build(tmp_path)


def test_counts_what_the_first_step_leaves(detector):
    head, count = detector.bbox_head, Counter()
    with torch.no_grad():
        inputs = detector.data_preprocessor(noise(2))['inputs']
        first = head(detector.extract_feat(inputs))[0]
    kept = [survives(each[..., None], head.theta).any(dim=1) for each in first]
    with survivors(head, None, count):
        detect(detector, number=2)
    left = sum(int(each.sum()) for each in kept)
    assert count == dict(cells=2 * sum(CELLS[:3]), left=left)
    assert 0 < left < count['cells']
    assert 'survivors' not in vars(head)


@pytest.mark.parametrize(
    ('mode', 'kind'),
    [('dense', 'SRNHead'), ('auto', 'SRNHead'), ('auto', 'QuerySRNHead')],
)
def test_sets_it(tmp_path, mode, kind):
    detector = build(tmp_path, type=kind)
    head = detector.bbox_head
    nms = dict(type='nms', iou_threshold=1.0)  # removes nothing
    limits = dict(max_before_nms=-1, max_per_img=10_000)
    head.test_cfg.update(second_step=mode, nms=nms, **limits)
    for percent in (0, 5, 100):
        count = Counter()
        with survivors(head, percent, count):
            [found] = detect(detector)
        share = 100 * count['left'] / count['cells']
        # the last disc of each of three levels
        assert percent <= share < percent + 100 * 3 * DISC / count['cells']
        assert len(found) == 2 * (count['left'] + sum(CELLS[3:]))


def test_the_first_step_is_computed(detector):
    detector.bbox_head.test_cfg.second_step = 'dense'
    flops = []
    for percent in (None, 0):
        with (
            survivors(detector.bbox_head, percent, Counter()),
            FlopCounterMode(display=False) as counter,
        ):
            detect(detector)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]


def test_without_levels_to_count(tmp_path):
    detector, count = build(tmp_path, stc_levels=()), Counter()
    with survivors(detector.bbox_head, 5, count):
        detect(detector)
    assert not count
