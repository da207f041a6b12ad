import pytest

from mmdet_srn.analysis.sparse_cost import SparseComparison, SparseCost
from mmdet_srn.analysis.sparse_cost_choices import judge, lost

CASES = [
    SparseComparison(10, 100, 2.0, 8.0),  # sparse is far better
    SparseComparison(50, 100, 10.0, 8.0),  # dense is better
    SparseComparison(60, 100, 7.0, 8.0),  # sparse is better
    SparseComparison(90, 100, 16.0, 8.0),  # dense is far better
]


def test_costs():
    cost = SparseCost(1.5, 20.0)
    assert [cost.pays(case) for case in CASES] == [True, True, False, False]
    assert [cost.seconds(case) for case in CASES] == [2, 10, 8, 8]
    assert not SparseCost(1.0, 90.0).pays(CASES[0])  # not where it is as much
    assert [case.better_seconds for case in CASES] == [2, 8, 7, 8]


def test_judge():
    choices = judge(SparseCost(1.5, 20.0), CASES)
    assert choices.wrong == 2
    assert choices.mean_lost == pytest.approx((2 / 8 + 1 / 7) / 4)
    assert (choices.most_lost, choices.most_lost_at) == (0.25, 1)
    assert (choices.most_lost_to_dense, choices.most_lost_to_dense_at) == (0.25, 1)


def test_always_dense():
    choices = judge(SparseCost(1.0, 1e9), CASES)
    assert (choices.wrong, choices.most_lost, choices.most_lost_at) == (2, 3, 0)
    assert choices.most_lost_to_dense == 0


def test_faster_than_dense_everywhere():
    choices = judge(SparseCost(1.0, 0.0), [CASES[0], CASES[2]])
    assert choices.wrong == choices.mean_lost == choices.most_lost == 0
    assert (choices.most_lost_to_dense, choices.most_lost_to_dense_at) == (-0.125, 1)


def test_as_good_is_not_wrong():
    equal = SparseComparison(10, 100, 5.0, 5.0)
    for cost in (SparseCost(1.0, 0.0), SparseCost(100.0, 0.0)):
        assert judge(cost, [equal]).wrong == lost(cost, equal) == 0
