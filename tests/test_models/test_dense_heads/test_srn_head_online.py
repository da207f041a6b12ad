"""SRNHead with an assigner that reads predictions."""

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.config import ConfigDict

from mmdet_srn.models.task_modules.assigners import OnlineAssigner
from tests.reference import srn_reference
from tests.test_models.test_dense_heads.test_srn_head import (
    ASSIGNER,
    build,
    faces,
    maps,
    metas,
    split_image,
)

STRIDES = [4, 8, 16]


@TASK_UTILS.register_module()
class OneMore(OnlineAssigner):
    """Gives the first face one prior that no face overlaps, and keeps what it read."""

    prior = 0

    def add(self, matched, free, pred_instances, gt_instances):
        self.read = pred_instances
        assert free[self.prior]
        gt_inds = torch.zeros_like(matched)
        gt_inds[self.prior] = 1
        return gt_inds, torch.full_like(pred_instances.priors[:, 0], 0.6)


def online(**kwargs):
    return build(
        theta=1.0,  # the first step drops nothing
        train_cfg=ConfigDict(assigner=dict(ASSIGNER, type='OneMore')),
        **kwargs,
    )


def test_reads_what_the_second_step_predicts():
    head = online(num_classes=2)
    outs = head(maps())
    head.loss_by_feat(*outs, [faces(4)], metas())
    read, image = head.assigner.read, split_image(head, outs, 0)
    boxes, scores, levels = [], [], []
    sizes = [m.shape[-2:] for m in image['cls']]
    for level, anchors in enumerate(srn_reference.grid_anchors(sizes, STRIDES)):
        priors = anchors
        if level in head.str_levels:
            first = srn_reference.rows(image['first_reg'][level], 4)
            priors = list(map(srn_reference.decode, anchors, first))
        deltas = srn_reference.rows(image['reg'][level], 4)
        boxes += map(srn_reference.decode, priors, deltas)
        scores.append(srn_reference.sigmoid(srn_reference.rows(image['cls'][level], 2)))
        levels += [level] * len(anchors)
    assert read.levels.tolist() == levels
    assert read.scores.numpy() == pytest.approx(np.concatenate(scores), abs=1e-5)
    np.testing.assert_allclose(read.bboxes.numpy(), np.array(boxes), rtol=1e-3)
    assert not read.bboxes.requires_grad and not read.scores.requires_grad


def test_an_added_positive_learns_in_the_second_step_and_is_none_for_the_first():
    head = online()
    plain = build(theta=1.0)
    plain.load_state_dict(head.state_dict())
    outs, gts = head(maps()), faces(4)
    outs[0][0].data[0, 0, 0, 0] = 0  # the first step takes it for a face
    found = head.loss_by_feat(*outs, [gts], metas())
    before = plain.loss_by_feat(*outs, [gts], metas())
    image, number = split_image(head, outs, 0), before['num_pos_second'].item()
    assert found['num_pos_second'] == number + 1 and number > 0

    def total(losses, name, positives):
        return losses[name].item() * positives

    logit = image['cls'][0][0, 0, 0]
    classes = total(before, 'loss_cls_second', number)
    classes -= srn_reference.focal([logit], 1)
    classes += 0.6 * srn_reference.focal([logit], 0)
    assert total(found, 'loss_cls_second', number + 1) == pytest.approx(classes)
    sizes = [m.shape[-2:] for m in image['cls']]
    anchor = srn_reference.grid_anchors(sizes, STRIDES)[0][0]
    target = srn_reference.encode(anchor, gts.bboxes[0].double().numpy())
    boxes = total(before, 'loss_bbox_second', number)
    boxes += srn_reference.smooth_l1(image['reg'][0][:4, 0, 0], target)
    assert total(found, 'loss_bbox_second', number + 1) == pytest.approx(boxes)

    first = max(before['num_pos_first'].item(), 1)
    assert found['num_pos_first'] == before['num_pos_first']
    background = srn_reference.focal([image['first_cls'][0][0, 0, 0]], 1)
    assert background > 0.1
    expected = total(before, 'loss_cls_first', first) - background
    assert total(found, 'loss_cls_first', first) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('kind', ['HAMBoxAssigner', 'AliAMSAssigner'])
def test_is_not_for_the_first_step(kind):
    cfg = ConfigDict(assigner=ASSIGNER, first_assigner=dict(ASSIGNER, type=kind))
    with pytest.raises(ValueError, match=f'first_assigner={kind} .* second step'):
        build(train_cfg=cfg)
