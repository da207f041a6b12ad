"""Targets and cells of the query branch, against plain loops in float64."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmdet_srn.models.dense_heads.query_branch import (
    QueryBranch,
    finer_cells,
    query_targets,
)

ANCHORS = torch.tensor([[-2.5, -3.5, 5.5, 6.5], [-4.0, -5.5, 7.0, 8.5]])
CENTRES = torch.stack(
    torch.meshgrid(*[torch.arange(3.5, 80, 8)] * 2, indexing='xy'), dim=-1
).flatten(0, 1)


def boxes(number, seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-5, 75, (number, 2))
    sides = rng.uniform(3, 30, (number, 1)) * rng.uniform(0.8, 1.3, (number, 2))
    return InstanceData(bboxes=torch.tensor(np.hstack([low, low + sides])).float())


def plain_targets(radius, min_iou, faces, ignored):
    labels, weights = [], []
    for x, y in CENTRES.double().tolist():
        near = False
        for x1, y1, x2, y2 in faces.bboxes.double().tolist():
            width, height = x2 - x1, y2 - y1
            for ax1, ay1, ax2, ay2 in ANCHORS.double().tolist():
                both = min(width, ax2 - ax1) * min(height, ay2 - ay1)
                area = width * height + (ax2 - ax1) * (ay2 - ay1) - both
                distance = np.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2)
                near |= both / area >= min_iou and distance < radius
        hidden = any(
            x1 <= x <= x2 and y1 <= y <= y2
            for x1, y1, x2, y2 in (ignored.bboxes.tolist() if ignored else [])
        )
        labels.append(0 if near else 1)
        weights.append(1 if near or not hidden else 0)
    return labels, weights


@pytest.mark.parametrize('radius, min_iou', [(8, 0.5), (13.5, 0.4), (3, 0.0)])
def test_targets(radius, min_iou):
    faces = [boxes(12, 0), boxes(0, 1), boxes(25, 2)]
    ignored = [boxes(6, 3), boxes(6, 4), None]
    found = query_targets(CENTRES, radius, ANCHORS, min_iou, faces, ignored)
    for image, (own, others) in enumerate(zip(faces, ignored, strict=True)):
        labels, weights = plain_targets(radius, min_iou, own, others)
        assert found.labels[image].tolist() == labels
        assert found.weights[image].tolist() == weights
    assert 0 < (found.labels == 0).sum() < found.labels.numel()
    plain = query_targets(CENTRES, radius, ANCHORS, min_iou, faces)
    assert torch.equal(plain.labels, found.labels) and plain.weights.all()


@pytest.mark.parametrize('ring', [0, 1, 2])
@pytest.mark.parametrize('size', [(12, 18), (11, 17), (13, 19), (1, 1)])
def test_finer_cells(size, ring):
    """The last size but one is of a backbone that rounds down."""
    torch.manual_seed(ring)
    height, width = (max(side // 2 + (side < 13) * side % 2, 1) for side in size)
    coarse = torch.rand(2, height, width) < 0.1
    coarse[0, -1, -1] = True
    expected = torch.zeros(2, *size, dtype=torch.bool)
    for image in range(2):
        for y in range(size[0]):
            for x in range(size[1]):
                if coarse[image, min(y // 2, height - 1), min(x // 2, width - 1)]:
                    rows = slice(max(y - ring, 0), y + ring + 1)
                    columns = slice(max(x - ring, 0), x + ring + 1)
                    expected[image, rows, columns] = True
    assert torch.equal(finer_cells(coarse, size, ring), expected)


def test_first_scores_are_the_prior():
    branch = QueryBranch(8, feat_channels=4, stacked_convs=2)
    branch.init_weights()
    assert [conv.conv.weight.shape for conv in branch.tower] == [
        (4, 8, 3, 3),
        (4, 4, 3, 3),
    ]
    logits = branch(torch.randn(2, 8, 6, 5))
    assert logits.shape == (2, 1, 6, 5)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
