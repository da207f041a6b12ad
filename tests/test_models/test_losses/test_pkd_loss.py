"""Against the correlation of each channel, by NumPy in float64."""

import numpy as np
import pytest
import torch

from mmdet_srn.models import PKDLoss


def maps(shape=(2, 5, 6, 7), seed=0):
    """A student and a teacher with something in common."""
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, *shape))
    scales = rng.uniform(0.1, 50, (1, shape[1], 1, 1))
    return student, (teacher + student) * scales - 3


def test_is_one_minus_the_correlation():
    student, teacher = maps()
    found = PKDLoss(loss_weight=3.0)(torch.tensor(student), torch.tensor(teacher))
    correlations = [
        np.corrcoef(student[:, c].ravel(), teacher[:, c].ravel())[0, 1]
        for c in range(student.shape[1])
    ]
    assert 0.3 < np.mean(correlations) < 0.9
    assert found.item() == pytest.approx(3 * (1 - np.mean(correlations)), rel=1e-5)


def test_cells_count_by_their_weights():
    student, teacher = maps()
    weights = np.random.default_rng(1).uniform(0, 1, (2, 1, 6, 7)) ** 4
    total = weight_sum = 0.0
    for n, y, x in np.ndindex(2, 6, 7):
        for c in range(5):
            a, b = student[:, c], teacher[:, c]
            error = (a[n, y, x] - a.mean()) / a.std() - (
                b[n, y, x] - b.mean()
            ) / b.std()
            total += weights[n, 0, y, x] * error**2 / 2
            weight_sum += weights[n, 0, y, x]
    found = PKDLoss()(*map(torch.tensor, (student, teacher, weights)))
    assert found.item() == pytest.approx(total / weight_sum, rel=1e-5)
    plain = PKDLoss()(*map(torch.tensor, (student, teacher)))
    same = PKDLoss()(*map(torch.tensor, (student, teacher, weights * 0 + 0.3)))
    assert same.item() == pytest.approx(plain.item()) != found.item()
    none = PKDLoss()(*map(torch.tensor, (student, teacher, weights * 0)))
    assert none == 0


def test_gradient_stays_finite_where_nothing_varies():
    """Such as maps of one cell, of a small crop."""
    student = torch.full((1, 3, 1, 1), 2.0, requires_grad=True)
    loss = PKDLoss()(student, torch.ones(1, 3, 1, 1))
    loss.backward()
    assert loss == 0 and student.grad.isfinite().all()


def test_mixed_precision():
    student, teacher = (torch.tensor(m) for m in maps())
    half = PKDLoss()(student.bfloat16(), teacher.bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(PKDLoss()(student, teacher).item(), rel=0.01)


def test_refuses_maps_of_other_channels():
    with pytest.raises(ValueError, match='out_channels'):
        PKDLoss()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, 4))
