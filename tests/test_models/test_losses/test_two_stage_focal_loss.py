import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS

from mmdet_srn.models.losses.two_stage_focal_loss import survives
from tests.reference.srn_reference import focal


def build(**kwargs):
    return MODELS.build(dict(type='TwoStageFocalLoss', **kwargs))


def plain(first, second, first_labels, second_labels, theta, filter_positives):
    """Both sums by loops over anchors and classes, with their normalisers."""
    num_classes = len(first[0])
    totals = []
    keep = []
    for logits, label in zip(first, second_labels, strict=True):
        best = max(1 / (1 + math.exp(-v)) for v in logits)
        dropped = 1 - best > theta
        if not filter_positives and label < num_classes:
            dropped = False
        keep.append(not dropped)
    for logits, labels, mask in (
        (first, first_labels, [True] * len(first)),
        (second, second_labels, keep),
    ):
        total, positives = 0.0, 0
        for row, label, used in zip(logits, labels, mask, strict=True):
            if not used:
                continue
            positives += label < num_classes
            total += focal(np.array(row), label)
        totals.append(total / max(positives, 1))
    return totals


# Away from theta's threshold, where one rounding decides.
logit = st.floats(-9, 9).filter(lambda v: abs(1 / (1 + math.exp(-v)) - 0.1) > 1e-4)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    num=st.integers(0, 12),
    num_classes=st.integers(1, 3),
    filter_positives=st.booleans(),
)
def test_against_loops(data, num, num_classes, filter_positives):
    row = st.lists(logit, min_size=num_classes, max_size=num_classes)
    rows = st.lists(row, min_size=num, max_size=num)
    labels = st.lists(st.integers(0, num_classes), min_size=num, max_size=num)
    first, second = data.draw(rows), data.draw(rows)
    first_labels, second_labels = data.draw(labels), data.draw(labels)
    loss = build(theta=0.9, filter_positives=filter_positives)
    got = loss(
        torch.tensor(first, dtype=torch.float64).reshape(num, num_classes),
        torch.tensor(second, dtype=torch.float64).reshape(num, num_classes),
        torch.tensor(first_labels, dtype=torch.long),
        torch.tensor(second_labels, dtype=torch.long),
    )
    expected = (
        plain(first, second, first_labels, second_labels, 0.9, filter_positives)
        if num
        else (0, 0)
    )
    # mmdet adds a float32 epsilon to the normaliser
    assert [float(v) for v in got] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_weights_and_normalisers():
    loss = build(loss_weight=2.0)
    first = torch.tensor([[0.5], [-1.0], [2.0]])
    second = torch.tensor([[1.5], [0.0], [-2.0]])
    labels = torch.tensor([0, 1, 1])
    got_first, got_second = loss(
        first,
        second,
        labels,
        labels,
        first_weights=torch.tensor([1.0, 0.0, 1.0]),
        second_weights=torch.tensor([1.0, 1.0, 0.0]),
        first_avg_factor=4,
        second_avg_factor=torch.tensor(5.0),
    )
    assert float(got_first) == pytest.approx(
        2 * (focal(np.array([0.5]), 0) + focal(np.array([2.0]), 1)) / 4, rel=1e-5
    )
    assert float(got_second) == pytest.approx(
        2 * (focal(np.array([1.5]), 0) + focal(np.array([0.0]), 1)) / 5, rel=1e-5
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_threshold_in_every_precision(dtype):
    logits = torch.tensor([[-4.75], [-4.5], [3.0], [-4.6], [-4.59]]).to(dtype)
    probability = logits.double().sigmoid().squeeze(1)
    assert survives(logits, 0.99).tolist() == (probability >= 0.01).tolist()


def test_no_gradient_through_the_filter():
    loss = build()
    first = torch.randn(8, 1, requires_grad=True)
    second = torch.randn(8, 1, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 1, 0, 1, 1, 1])
    loss(first, second, labels, labels)[1].backward()
    assert first.grad is None
    assert second.grad is not None


def test_bad_arguments():
    with pytest.raises(ValueError, match='theta'):
        build(theta=1.5)
    with pytest.raises(ValueError, match='keep'):
        labels = torch.tensor([0])
        build()(torch.zeros(1, 1), torch.zeros(2, 1), labels, labels)
