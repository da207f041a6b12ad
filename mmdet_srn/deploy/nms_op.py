"""Non-maximum suppression as one operator, in torch and in ONNX."""

from collections.abc import Callable
from typing import Any

import torch
from mmcv.ops import nms
from torch import Tensor

from .._stack import release

if release(torch.__version__) < (2, 9):
    raise ImportError(
        f'the export to ONNX needs torch >= 2.9, this is {torch.__version__}; what it '
        'writes runs without torch'
    )


@torch.library.custom_op('mmdet_srn::nms_keep', mutates_args=())
def nms_keep(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_per_img: int
) -> Tensor:
    """Which boxes non-maximum suppression keeps, image by image.

    A mask instead of a list, whose length only running tells: so a graph with it has
    shapes that follow from those of the input.

    Args:
        boxes (Tensor): Shape (N, K, 4), xyxy.
        scores (Tensor): Shape (N, K); rows below 0 take no part.
        iou_threshold (float): A box goes if its overlap with a better one that stays
            is above it.
        max_per_img (int): How many boxes stay in an image, at most: the best.

    Returns:
        Tensor: Boolean, shape (N, K).
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
    """How ONNX says ``nms_keep``.

    Args:
        opset (int): Version of ONNX's operators.

    Returns:
        dict: For the ``custom_translation_table`` of ``torch.onnx.export``.
    """
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
