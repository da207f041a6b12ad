"""The IoU branch against loops, the sparse second step, and the exported graph."""

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import nn

from mmdet_srn.deploy.onnx_export import save_onnx
from mmdet_srn.deploy.onnx_metadata import make_metadata
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.deploy.srn_graph import SRNGraph
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.models.sparse import partial_map
from tests.reference import srn_reference
from tests.test_models.test_dense_heads.test_srn_head import (
    build,
    faces,
    head_cfg,
    maps,
    metas,
    scalars,
)
from tests.test_models.test_dense_heads.test_srn_head_sparse import (
    SIZE,
    assert_same,
    deferred,
    dense_flops,
    flops,
    leave,
    predict,
)

STRIDES = [4, 8, 16]


def build_iou(seed=0, **kwargs):
    """A head as if trained, whose IoUs are spread."""
    head = build(seed, type='SRNIoUHead', **kwargs)
    nn.init.normal_(head.conv_iou.weight, std=0.2)
    nn.init.normal_(head.conv_iou.bias)
    return head


def split_image(head, outs, image):
    """Outputs of one image as the reference takes them, and its IoUs' logits."""
    first_cls, first_reg, cls, boxes = (
        [m[image].detach().double().numpy() for m in out] for out in outs
    )
    boxes = [m.reshape(head.num_base_priors, 5, *m.shape[1:]) for m in boxes]
    reference = dict(
        first_cls=dict(zip(head.stc_levels, first_cls, strict=True)),
        first_reg=dict(zip(head.str_levels, first_reg, strict=True)),
        cls=cls,
        reg=[m[:, :4].reshape(-1, *m.shape[2:]) for m in boxes],
    )
    return reference, [m[:, 4] for m in boxes]


def iou_loss(images, all_faces, str_levels):
    """TinaFace's loss of the IoU, by its words."""
    total, number = 0.0, 0
    for (image, logits), image_faces in zip(images, all_faces, strict=True):
        sizes = [m.shape[-2:] for m in image['cls']]
        for level, anchors in enumerate(srn_reference.grid_anchors(sizes, STRIDES)):
            priors = anchors
            if level in str_levels:
                first = srn_reference.rows(image['first_reg'][level], 4)
                priors = list(map(srn_reference.decode, anchors, first))
            deltas = srn_reference.rows(image['reg'][level], 4)
            ious = srn_reference.sigmoid(srn_reference.rows(logits[level], 1)[:, 0])
            for i, face in enumerate(
                srn_reference.match(priors, image_faces, 0.5, 0.4)
            ):
                if face >= 0:
                    box = srn_reference.decode(priors[i], deltas[i])
                    target = srn_reference.iou(box, image_faces[face])
                    total -= target * math.log(ious[i])
                    total -= (1 - target) * math.log(1 - ious[i])
                    number += 1
    return total / max(number, 1), number


@pytest.mark.parametrize('decoded', [False, True])
def test_losses_against_loops(decoded):
    """Also with targets that are boxes; the other losses do not change."""
    loss_bbox = dict(type='GIoULoss') if decoded else head_cfg().get('loss_bbox')
    kwargs = dict(loss_bbox=loss_bbox, reg_decoded_bbox=True) if decoded else {}
    head = build_iou(**kwargs)
    outs = head(maps(2))
    gts = [faces(15), faces(4, seed=3)]
    losses = head.loss_by_feat(*outs, gts, metas(2))
    images = [split_image(head, outs, i) for i in range(2)]
    expected, number = iou_loss(
        images, [gt.bboxes.double().numpy() for gt in gts], head.str_levels
    )
    assert number > 20 and losses['num_pos_second'] == number
    assert losses['loss_iou'].item() == pytest.approx(expected, rel=1e-4)
    plain = build(**kwargs)
    plain.load_state_dict(head.state_dict(), strict=False)
    others = scalars(plain.loss_by_feat(*plain(maps(2)), gts, metas(2)))
    losses.pop('loss_iou')
    assert scalars(losses) == pytest.approx(others, rel=1e-5)


def test_the_iou_does_not_train_the_boxes():
    head = build_iou()
    outs = head(maps())
    loss = head.loss_by_feat(*outs, [faces(9)], metas())['loss_iou']
    gradients = torch.autograd.grad(loss, outs[3])
    for gradient in gradients:
        gradient = gradient.unflatten(1, (head.num_base_priors, 5))
        assert not gradient[:, :, :4].any()
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize('alpha', [None, 0.7])
def test_detections_against_the_reference(alpha):
    """The reference detects with scores of the formula."""
    head = build_iou()
    head.test_cfg.score_thr = 0.02
    head.test_cfg.nms_pre = 60
    if alpha:
        head.test_cfg.iou_alpha = alpha
    power, iou_power = (0.8, 1.2) if alpha is None else (1.4, 0.6)
    outs = head(maps(2))
    results = head.predict_by_feat(*outs, batch_img_metas=metas(2))
    for i, result in enumerate(results):
        image, ious = split_image(head, outs, i)
        for level, (cls, iou) in enumerate(zip(image['cls'], ious, strict=True)):
            score = srn_reference.sigmoid(cls) ** power
            score *= srn_reference.sigmoid(iou) ** iou_power
            image['cls'][level] = np.log(score / (1 - score))
        boxes, scores, _ = srn_reference.detect(
            image,
            STRIDES,
            head.stc_levels,
            head.str_levels,
            1,
            score_thr=0.02,
            nms_pre=60,
            max_before_nms=200,
            max_per_img=100,
        )
        assert len(scores) > 5
        assert result.scores.detach().numpy() == pytest.approx(scores, abs=1e-5)
        assert result.bboxes.detach().numpy() == pytest.approx(boxes, abs=1e-3)


def test_starts_at_a_half_and_takes_the_weights_of_an_srn():
    head = MODELS.build(head_cfg(type='SRNIoUHead'))
    head.init_weights()
    for outputs in head(maps())[3]:
        assert not outputs.unflatten(1, (2, 5))[:, :, 4].any()
    found = head.load_state_dict(build().state_dict(), strict=False)
    assert found.missing_keys == ['conv_iou.weight', 'conv_iou.bias']
    assert not found.unexpected_keys


def test_every_parameter_has_a_gradient_without_a_positive():
    """Or distributed training stops."""
    head = build_iou()
    losses = head.loss_by_feat(*head(maps()), [faces(0)], metas())
    assert losses['loss_iou'] == 0
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize('alpha', [0, -0.1, 1.5])
def test_checks_alpha(alpha):
    with pytest.raises(ValueError, match=rf'iou_alpha={alpha} must be in \(0, 1\]'):
        build_iou(test_cfg=ConfigDict(iou_alpha=alpha))


# ------------------------------------------------------------- sparse second step


@pytest.mark.parametrize('share', [0.03, 0.3])
@pytest.mark.parametrize('score_thr', [0.0, 0.05])
@pytest.mark.parametrize('norm', [None, dict(type='GN', num_groups=2)])
def test_sparse_detections_are_the_same(share, score_thr, norm, monkeypatch):
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    head = build_iou(norm_cfg=norm)
    with torch.no_grad():
        head.conv_reg.weight *= 0.1
    x = deferred(maps(2, SIZE), (0, 1))
    leave(head, x, share)
    settings = dict(score_thr=score_thr, max_before_nms=400, max_per_img=400)
    dense = predict(head, x, 'dense', **settings)
    assert all(len(result) > 20 for result in dense)
    for second_step in ('sparse', 'auto'):
        assert_same(predict(head, x, second_step, **settings), dense)


def test_boxes_and_ious_are_computed_once_and_only_where_needed():
    """The multiplications, counted."""
    cells = (40 * 51, 20 * 26, 10 * 13)
    head = build_iou(stc_levels=(0, 1), str_levels=(2,))
    x = maps(1, SIZE)
    leave(head, x, 0)
    classes = dense_flops(head, sum(cells), 'cls')
    # no score can reach it, whatever the IoU
    assert flops(head, x, 'auto', score_thr=1.0) == classes
    boxes = 2 * dense_flops(head, cells[2], 'reg')  # two steps of the last level
    boxes += 2 * head.conv_iou.weight.numel() * cells[2]
    everything = dict(score_thr=0.0, max_before_nms=-1)
    assert flops(head, x, 'auto', **everything) == classes + boxes


# ------------------------------------------------------------------------ export


class OneMap(nn.Conv2d):
    """A backbone that takes the exporter no time."""

    def forward(self, x):
        return [super().forward(x)]


def small_detector():
    """The branch and little else, as the exporter takes 4 s for each level."""
    head = head_cfg(
        type='SRNIoUHead',
        rfe_cfg=None,
        stacked_convs=0,
        stc_levels=(0,),
        str_levels=(),
        anchor_generator=dict(type='SRNAnchorGenerator', strides=[4]),
    )
    head.pop('train_cfg')
    test_cfg = head.pop('test_cfg')
    test_cfg.update(score_thr=0.05, max_before_nms=90)
    cfg = dict(
        type='SingleStageDetector',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[127] * 3, std=[128] * 3
        ),
        backbone=dict(type='ResNet', depth=18),
        bbox_head=head,
        test_cfg=test_cfg,
    )
    detector = MODELS.build(dict(cfg, _scope_='mmdet'))
    detector.backbone = OneMap(3, 8, 4, stride=4)
    for name, value in detector.named_parameters():
        nn.init.normal_(value, std=0.3 if name.endswith('weight') else 0.1)
    return detector.eval()


def detect(detector, image):
    sample = dict(img_shape=image.shape[:2], scale_factor=(1.0, 1.0))
    with torch.no_grad():
        inputs = SRNGraph(detector, 'raw').preprocess(torch.from_numpy(image[None]))
        outs = detector.bbox_head(detector.extract_feat(inputs))
        (found,) = detector.bbox_head.predict_by_feat(*outs, batch_img_metas=[sample])
    return found.bboxes.numpy(), found.scores.numpy()


def test_export(tmp_path):
    """In the real onnxruntime, with sizes that the exporter did not see."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    detector = small_detector()
    graph = SRNGraph(detector, 'boxes')
    metadata = make_metadata(graph, Config())
    assert metadata['iou_alpha'] == 0.4
    save_onnx(graph, metadata, tmp_path / 'iou.onnx')
    runner = OnnxRunner(tmp_path / 'iou.onnx')
    rng = np.random.default_rng(0)
    for size in ((64, 96), (83, 50)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        (found,) = runner([image])
        parity = compare_detections(detect(detector, image), found, 1e-3, 1e-5)
        assert parity.same and parity.pairs > 20, parity
    # without the IoU there would be others
    detector.bbox_head.test_cfg.iou_alpha = 1.0
    assert not compare_detections(detect(detector, image), found, 1e-3, 1e-5).same
