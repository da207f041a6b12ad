"""HAMBox and Ali-AMS against loops."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from mmdet_srn.models.task_modules.assigners import ali_ams_assigner
from tests.reference import srn_reference

POSITIVE, NEGATIVE = 0.4, 0.3
SIZES, STRIDES = [(12, 16), (6, 8), (3, 4)], [4, 8, 16]
LEVELS = np.repeat(range(3), [2 * h * w for h, w in SIZES])


def scene(seed, number):
    """Priors, moved so that none are equally near; faces; what is predicted."""
    rng = np.random.default_rng(seed)
    priors = np.concatenate(srn_reference.grid_anchors(SIZES, STRIDES))
    sides = np.tile(priors[:, 2:] - priors[:, :2], 2)
    priors += rng.uniform(-0.1, 0.1, priors.shape) * sides
    faces = priors[rng.choice(len(priors), number)]
    faces += rng.uniform(-0.15, 0.15, faces.shape) * np.tile(
        faces[:, 2:] - faces[:, :2], 2
    )
    # some predict a face well, whatever their prior, others nothing
    boxes = priors.copy()
    for row in rng.choice(len(priors), 60, replace=False):
        face = faces[rng.integers(number)]
        side = np.tile(face[2:] - face[:2], 2)
        boxes[row] = face + rng.uniform(-0.15, 0.15, 4) * side
    scores = rng.uniform(size=(len(priors), 2))
    # as the package sees them
    return [each.astype(np.float32) for each in (priors, faces, boxes, scores)]


def taken_out(priors, ignored):
    """Priors that lie in an ignored box by more than half."""
    found = []
    for prior in priors:
        shares = []
        for box in ignored:
            width = min(prior[2], box[2]) - max(prior[0], box[0])
            height = min(prior[3], box[3]) - max(prior[1], box[1])
            area = (prior[2] - prior[0]) * (prior[3] - prior[1])
            shares.append(max(width, 0) * max(height, 0) / area)
        found.append(max(shares, default=0) > 0.5)
    return found


def match(priors, faces, ignored):
    """Face of each prior, -1 background, -2 neither; and those that are free."""
    matched = srn_reference.match(priors, faces, POSITIVE, NEGATIVE)
    out = taken_out(priors, ignored)
    matched = [-2 if gone else face for face, gone in zip(matched, out, strict=True)]
    free = [i for i, face in enumerate(matched) if face < 0 and not out[i]]
    return matched, free


def hambox(priors, faces, boxes, ignored, number, threshold):
    matched, free = match(priors, faces, ignored)
    has = Counter(matched)
    claims = {face: [] for face in range(len(faces))}
    for prior in free:
        overlaps = [srn_reference.iou(boxes[prior], face) for face in faces]
        if max(overlaps) >= threshold:
            claims[int(np.argmax(overlaps))].append((max(overlaps), prior))
    weights = {}
    for face, own in claims.items():
        own.sort(reverse=True)
        missing = max(number - has[face], 0)
        for rank, (overlap, prior) in enumerate(own):
            matched[prior] = face if rank < missing else -2
            if rank < missing:
                weights[prior] = overlap
    return matched, weights


def ali_ams(priors, faces, labels, scores, ignored):
    matched, free = match(priors, faces, ignored)
    result, weights = list(matched), {}
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    for level in range(3):
        rows = [i for i in range(len(priors)) if LEVELS[i] == level]
        has = Counter(matched[i] for i in rows if matched[i] >= 0)
        most = max(has.values(), default=0)
        for face in sorted(has):
            centre = (faces[face][:2] + faces[face][2:]) / 2
            near = sorted(rows, key=lambda i: ((centres[i] - centre) ** 2).sum())
            near = near[:most]
            near.sort(key=lambda i: -scores[i][labels[face]])
            for prior in near[: most - has[face]]:
                if prior in free and prior not in weights:
                    result[prior], weights[prior] = face, 1.0
    return result, weights


def assign(kind, priors, faces, boxes, scores, labels, ignored, **kwargs):
    assigner = TASK_UTILS.build(
        dict(
            type=kind,
            pos_iou_thr=POSITIVE,
            neg_iou_thr=NEGATIVE,
            match_low_quality=False,
            ignore_iof_thr=0.5,
            **kwargs,
        )
    )
    predictions = InstanceData(
        priors=torch.from_numpy(priors),
        bboxes=torch.from_numpy(boxes),
        scores=torch.from_numpy(scores),
        levels=torch.from_numpy(LEVELS),
    )
    gts = InstanceData(bboxes=torch.from_numpy(faces), labels=torch.tensor(labels))
    result = assigner.assign(
        predictions, gts, InstanceData(bboxes=torch.from_numpy(ignored))
    )
    return result, result.get_extra_property('added_weights')


def check(result, added, expected, weights, labels):
    gt_inds = [{-1: 0, -2: -1}.get(face, face + 1) for face in expected]
    assert result.gt_inds.tolist() == gt_inds
    of = [labels[face] if face >= 0 else -1 for face in expected]
    assert result.labels.tolist() == of
    dense = np.zeros(len(expected))
    dense[list(weights)] = list(weights.values())
    assert added.numpy() == pytest.approx(dense, abs=1e-5)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(('number', 'threshold'), [(5, 0.5), (3, 0.7)])
def test_hambox(seed, number, threshold):
    priors, faces, boxes, scores = scene(seed, 6)
    labels = [0, 1, 0, 1, 0, 1]
    ignored = np.float32([[20, 8, 34, 26]])
    expected, weights = hambox(priors, faces, boxes, ignored, number, threshold)
    result, added = assign(
        *('HAMBoxAssigner', priors, faces, boxes, scores, labels, ignored),
        num_matches=number,
        pred_iou_thr=threshold,
    )
    check(result, added, expected, weights, labels)
    assert weights
    plain, _ = match(priors, faces, ignored)
    assert expected.count(-2) > plain.count(-2)  # some are ignored


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('chunk_size', [64, 2])
def test_ali_ams(seed, chunk_size, monkeypatch):
    monkeypatch.setattr(ali_ams_assigner, 'CHUNK_SIZE', chunk_size)
    priors, faces, boxes, scores = scene(seed, 12)
    labels = [0, 1] * 6
    ignored = np.float32([[20, 8, 34, 26]])
    expected, weights = ali_ams(priors, faces, labels, scores, ignored)
    result, added = assign(
        'AliAMSAssigner', priors, faces, boxes, scores, labels, ignored
    )
    check(result, added, expected, weights, labels)
    assert len(weights) > 3


@pytest.mark.parametrize('kind', ['HAMBoxAssigner', 'AliAMSAssigner'])
def test_without_faces_or_predictions_it_is_the_matching_by_iou(kind):
    priors, faces, boxes, scores = scene(0, 6)
    nothing = np.zeros((0, 4), np.float32)
    result, added = assign(kind, priors, nothing, boxes, scores, [], nothing)
    assert not result.gt_inds.any() and not added.any()
    kwargs = dict(pos_iou_thr=POSITIVE, neg_iou_thr=NEGATIVE, match_low_quality=False)
    gts = InstanceData(
        bboxes=torch.from_numpy(faces), labels=torch.zeros(6, dtype=torch.long)
    )
    alone = InstanceData(priors=torch.from_numpy(priors))
    found, stock = (
        TASK_UTILS.build(dict(type=name, **kwargs)).assign(alone, gts)
        for name in (kind, 'MaxIoUAssigner')
    )
    assert torch.equal(found.gt_inds, stock.gt_inds)
    assert torch.equal(found.labels, stock.labels)


def test_hambox_checks_its_threshold():
    with pytest.raises(ValueError, match=r'pred_iou_thr=0 must be in \(0, 1\]'):
        TASK_UTILS.build(
            dict(
                type='HAMBoxAssigner', pos_iou_thr=0.4, neg_iou_thr=0.3, pred_iou_thr=0
            )
        )
