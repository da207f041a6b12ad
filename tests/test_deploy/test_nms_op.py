import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.deploy.nms_op import NmsSettings, nms_keep, nms_translation
from mmdet_srn.deploy.onnx_export import OPSET

NMS = dict(type='nms', iou_threshold=0.5)
LEAST = dict(nms=NMS, max_per_img=9)
MAX_PER_IMG = 7
IOU = 0.4


def candidates(number, width, seed):
    """Boxes that overlap, scores without ties, and padding behind."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (number, width, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, corners.shape)], 2)
    scores = rng.permuted(np.tile(np.arange(1, width + 1), (number, 1)), axis=1)
    scores = scores / (width + 1)
    for image in range(number):
        scores[image, rng.integers(0, width + 1) :] = -1
    return torch.tensor(boxes).float(), torch.tensor(scores).float()


def plain_keep(boxes, scores):
    """The definition, in loops."""
    keep = np.zeros(scores.shape, bool)
    for i, (image_boxes, image_scores) in enumerate(zip(boxes, scores, strict=True)):
        kept = []
        for j in np.argsort(-image_scores):
            if image_scores[j] < 0 or len(kept) == MAX_PER_IMG:
                break
            x1, y1, x2, y2 = image_boxes[j]
            for k in kept:
                a1, b1, a2, b2 = image_boxes[k]
                both = max(0, min(x2, a2) - max(x1, a1)) * max(
                    0, min(y2, b2) - max(y1, b1)
                )
                either = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - both
                if both / either > IOU:
                    break
            else:
                kept.append(j)
        keep[i, kept] = True
    return keep


@functools.cache
def session():
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')

    class Keep(torch.nn.Module):
        def forward(self, boxes, scores):
            return nms_keep(boxes, scores, IOU, MAX_PER_IMG)

    dynamic = {0: torch.export.Dim('images'), 1: torch.export.Dim('boxes')}
    program = torch.export.export(
        Keep(), candidates(2, 5, 0), dynamic_shapes=(dynamic, dynamic)
    )
    model = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=['boxes', 'scores'],
        custom_translation_table=nms_translation(OPSET),
    ).model_proto
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 30), st.integers(0, 999))
def test_keeps_what_the_definition_keeps(number, width, seed):
    """In torch and in onnxruntime."""
    boxes, scores = candidates(number, width, seed)
    expected = plain_keep(boxes.numpy(), scores.numpy())
    keep = nms_keep(boxes, scores, IOU, MAX_PER_IMG).numpy()
    np.testing.assert_array_equal(keep, expected)
    [got] = session().run(None, dict(boxes=boxes.numpy(), scores=scores.numpy()))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    'same',
    [
        dict(nms=dict(iou_threshold=0.5)),
        dict(nms=dict(type='nms', iou_thr=0.5)),
        dict(nms=dict(NMS, class_agnostic=True, split_thr=5)),
        dict(min_bbox_size=0),
        dict(second_step='sparse'),  # another way to the same boxes
    ],
    ids=str,
)
def test_what_changes_nothing(same):
    assert NmsSettings.from_test_cfg({**LEAST, **same}) == NmsSettings(0.5, 0, 9)


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (dict(nms=dict(type='soft_nms', iou_threshold=0.5)), 'soft_nms'),
        (dict(nms=dict(NMS, score_threshold=0.3)), 'score_threshold'),
        (dict(nms=dict(NMS, max_num=3)), 'max_num'),
        (dict(nms=dict(NMS, offset=2)), "'offset': 2"),
        (dict(nms=dict(type='nms')), 'iou_threshold=...'),
        (dict(nms=None), 'not None'),
        (dict(min_bbox_size=4), 'min_bbox_size=4'),
        (dict(max_per_img=-1), 'max_per_img, got -1'),
    ],
    ids=str,
)
def test_refuses_what_the_graph_does_not_do(other, message):
    with pytest.raises(ValueError, match=message):
        NmsSettings.from_test_cfg({**LEAST, **other})
