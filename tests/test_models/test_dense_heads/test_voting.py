import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from mmdet_srn.deploy.onnx_runner import vote
from mmdet_srn.models.dense_heads.voting import vote_boxes
from tests.reference import srn_reference
from tests.test_models.test_dense_heads.test_srn_head import build, maps, metas


@pytest.mark.parametrize('iou_thr', [0.2, 0.6, 1.0])
def test_means_of_the_definition(iou_thr):
    """In torch, one image or several, and in NumPy; some boxes have no area."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (3, 50, 2))
    sides = rng.uniform(5, 40, (3, 50, 2)) * (rng.uniform(size=(3, 50, 1)) > 0.1)
    boxes = np.concatenate([corners, corners + sides], axis=2)
    scores, kept = rng.uniform(size=(3, 50)), boxes[:, ::4]
    expected = [
        [srn_reference.vote(box, b, s, iou_thr) for box in k]
        for k, b, s in zip(kept, boxes, scores, strict=True)
    ]
    found = vote_boxes(*map(torch.tensor, (kept, boxes, scores)), iou_thr).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.abs(found - kept).max() > 1 or iou_thr == 1
    for i, rows in enumerate(expected):
        alone = vote(kept[i], boxes[i], scores[i], iou_thr)
        np.testing.assert_allclose(alone, rows, rtol=1e-9)
        weights = torch.tensor(scores[i]).expand(len(kept[i]), -1)
        boxes_ = (torch.tensor(each[i]) for each in (kept, boxes))
        np.testing.assert_allclose(vote_boxes(*boxes_, weights, iou_thr), rows)


def test_nothing_found():
    none = torch.zeros(0, 4)
    assert vote_boxes(none, none, torch.zeros(0), 0.5).shape == (0, 4)
    assert vote(none.numpy(), none.numpy(), np.zeros(0), 0.5).shape == (0, 4)


def test_rescaled_boxes_vote_in_their_own_pixels():
    """Those of NMS are rescaled before; so must be the others."""
    head = build()
    outs = head(maps())
    cfg = ConfigDict(head.test_cfg, vote_iou_thr=0.5)
    meta = dict(metas()[0], scale_factor=(2.0, 2.0))
    (plain,) = head.predict_by_feat(*outs, [meta], cfg)
    (scaled,) = head.predict_by_feat(*outs, [meta], cfg, rescale=True)
    torch.testing.assert_close(scaled.bboxes, plain.bboxes / 2)
    (unvoted,) = head.predict_by_feat(*outs, [meta])
    assert not torch.allclose(plain.bboxes, unvoted.bboxes)
    assert torch.equal(plain.scores, unvoted.scores)
