"""Averages of positives, over batches and through a checkpoint."""

import pytest
import torch

from mmdet_srn.models.losses.avg_factors import AvgFactors


def test_each_batch_its_own_and_at_least_one():
    factors = AvgFactors(3)
    assert not factors.state_dict()
    assert factors(torch.tensor([0.0, 0.5, 7.0])).tolist() == [1, 1, 7]


def test_mean_of_the_batches_with_geometric_weights():
    factors = AvgFactors(2, momentum=0.9)
    batches = [(30.0, 4.0), (0.0, 8.0), (6.0, 0.0)]
    for number in range(1, 4):
        found = factors(torch.tensor(batches[number - 1]))
        weights = [0.9 ** (number - 1 - i) for i in range(number)]
        for loss in range(2):
            products = [w * b[loss] for w, b in zip(weights, batches, strict=False)]
            assert found[loss].item() == pytest.approx(sum(products) / sum(weights))


def test_a_checkpoint_keeps_the_mean():
    factors, again = AvgFactors(1, momentum=0.5), AvgFactors(1, momentum=0.5)
    factors(torch.tensor([100.0]))
    again.load_state_dict(factors.state_dict())
    count = torch.tensor([10.0])
    assert again(count) == factors(count) == pytest.approx((50 + 10) / 1.5)


def test_validation_leaves_the_mean_alone():
    factors = AvgFactors(1, momentum=0.9).eval()
    assert factors(torch.tensor([5.0])) == 5
    assert factors.weight == 0


@pytest.mark.parametrize('momentum', [-0.1, 1.0])
def test_wrong_momentum(momentum):
    with pytest.raises(ValueError, match='avg_factor_momentum'):
        AvgFactors(1, momentum)
