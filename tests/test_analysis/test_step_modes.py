import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.analysis.step_modes import MODES, released_forward, step_mode
from mmdet_srn.models.cpu import matrix_conv
from tests.test_analysis.small_detector import CELLS, SIZE, build, weights_of


@pytest.fixture
def head(tmp_path):
    return build(tmp_path).bbox_head


def maps(number=12):
    torch.manual_seed(1)
    sizes = [(-(-SIZE[0] // s), -(-SIZE[1] // s)) for s in (4, 8, 16, 32, 64, 128)]
    return [torch.randn(1, 8, *sizes[i % 6]) for i in range(number)]


def test_released_gives_what_the_head_gives(head):
    with torch.no_grad():
        for found, expected in zip(
            released_forward(head, maps()), head(maps()), strict=True
        ):
            assert len(found) == len(expected)
            for ours, theirs in zip(found, expected, strict=True):
                assert torch.equal(ours, theirs)


def test_released_computes_both_subnets_twice_on_every_level(head):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        released_forward(head, maps())
    once = weights_of(head.cls_subnet, head.reg_subnet, head.conv_cls, head.conv_reg)
    assert counter.get_total_flops() == 2 * 2 * once * sum(CELLS)


def test_released_without_placements(tmp_path):
    head = build(tmp_path, stc_levels=(), str_levels=()).bbox_head
    with torch.no_grad():
        found, expected = released_forward(head, maps()), head(maps())
    assert found[:2] == expected[:2] == ([], [])
    for ours, theirs in zip(
        found[2] + found[3], expected[2] + expected[3], strict=True
    ):
        assert torch.equal(ours, theirs)


def test_released_needs_two_pyramids(head):
    with pytest.raises(ValueError, match='a map of its own for each step'):
        released_forward(head, maps(6))


@pytest.mark.parametrize('mode', MODES)
def test_modes_leave_no_trace(mode, tmp_path):
    detector = build(tmp_path)
    before = dict(vars(detector.bbox_head)), detector.bbox_head.test_cfg.copy()
    most_cells = matrix_conv.MOST_CELLS
    with step_mode(detector, mode):
        expected = 'dense' if mode == 'released' else mode
        assert detector.bbox_head.test_cfg.second_step == expected
        assert ('forward' in vars(detector.bbox_head)) == (mode == 'released')
        assert bool(matrix_conv.MOST_CELLS) == (mode != 'released')
    assert matrix_conv.MOST_CELLS is most_cells
    assert (vars(detector.bbox_head), detector.bbox_head.test_cfg) == before
