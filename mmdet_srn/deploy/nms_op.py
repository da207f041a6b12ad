"""Non-maximum suppression as one operator, in torch and in ONNX."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from mmcv.ops import nms
from torch import Tensor

from .._stack import release

if release(torch.__version__) < (2, 9):
    raise ImportError(
        f'the export to ONNX needs torch >= 2.9, this is {torch.__version__}; what it '
        'writes runs without torch'
    )


class NmsSettings(NamedTuple):
    """What a graph's NMS does.

    Attributes:
        iou_threshold: NMS drops boxes that overlap a better one more than that.
        offset: 0 or 1, what NMS adds to the sides of boxes.
        max_per_img: Number of best boxes to keep after NMS.
        vote_iou_thr: Least IoU with which candidates vote on a box; None: they do not.
    """

    iou_threshold: float
    offset: int
    max_per_img: int
    vote_iou_thr: float | None = None

    @classmethod
    def from_test_cfg(cls, test_cfg: Mapping[str, Any]) -> 'NmsSettings':
        """Read a head's ``test_cfg``.

        Raises:
            ValueError: If it asks for what the graph does not do, so that no file
                silently gives other boxes than the model.
        """
        nms = dict(test_cfg.get('nms') or {})
        iou_threshold = nms.pop('iou_threshold', nms.pop('iou_thr', None))
        kind, offset = nms.pop('type', 'nms'), nms.pop('offset', 0)
        # With one class they change nothing but the way to the result.
        others = set(nms) - {'class_agnostic', 'split_thr'}
        if kind != 'nms' or iou_threshold is None or offset not in (0, 1) or others:
            raise ValueError(
                "an exported graph needs test_cfg.nms=dict(type='nms', "
                f'iou_threshold=..., offset=0 or 1), not {test_cfg.get("nms")}'
            )
        if test_cfg.get('min_bbox_size', -1) > 0:
            raise ValueError(
                'an exported graph cannot apply test_cfg.min_bbox_size='
                f'{test_cfg["min_bbox_size"]}'
            )
        if test_cfg.get('max_per_img', 0) <= 0:
            raise ValueError(
                'an exported graph needs a positive test_cfg.max_per_img, got '
                f'{test_cfg.get("max_per_img")}'
            )
        return cls(
            float(iou_threshold),
            int(offset),
            int(test_cfg['max_per_img']),
            test_cfg.get('vote_iou_thr'),
        )


@torch.library.custom_op('mmdet_srn::nms_keep', mutates_args=())
def nms_keep(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_per_img: int
) -> Tensor:
    """Find the boxes that non-maximum suppression keeps, image by image: (N, K).

    A mask, as the length of a list would depend on the data: so all shapes of a graph
    follow from those of its input.

    Args:
        boxes: (N, K, 4), xyxy.
        scores: (N, K); rows below 0 take no part.
        iou_threshold: A box is dropped if a better one that is kept overlaps it more.
        max_per_img: Number of best boxes to keep of an image.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image, image_scores in enumerate(scores):
        rows = (image_scores >= 0).nonzero().squeeze(1)
        picked = nms(boxes[image, rows], image_scores[rows], iou_threshold)[1]
        keep[image, rows[picked[:max_per_img]]] = True
    return keep


@nms_keep.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, max_per_img: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def nms_translation(opset: int) -> dict[Any, Callable]:
    """Make the ``custom_translation_table`` by which torch exports ``nms_keep``."""
    import onnxscript

    op = getattr(onnxscript, f'opset{opset}')

    def translate(boxes: Any, scores: Any, iou_threshold: float, max_per_img: int):  # noqa: ANN202
        selected = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[max_per_img]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[-0.5]),  # between padding, -1, and scores
        )
        # rows of image, class, box
        places = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)
        number = op.Shape(places, start=0, end=1)
        false = op.Constant(value=onnxscript.ir.tensor(False))
        true = op.Constant(value=onnxscript.ir.tensor(True))
        nothing = op.Expand(false, op.Shape(scores))
        return op.ScatterND(nothing, places, op.Expand(true, number))

    return {torch.ops.mmdet_srn.nms_keep.default: translate}
