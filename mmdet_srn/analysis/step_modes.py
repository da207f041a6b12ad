"""How much of both steps is computed: as released, dense, or where it is needed."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from mmdet.models import SingleStageDetector
from torch import Tensor
from torch.profiler import record_function

from ..models.cpu import matrix_conv
from ..models.dense_heads import SRNHead
from ..models.spans import FIRST_STEP, SECOND_STEP
from ..models.sparse.deferred_map import DeferredMap, to_dense
from .replaced import replaced

MODES = ('released', 'dense', 'auto', 'sparse')
"""'released' is what the authors' code computes: both subnets of both steps on every
map, whether or not it is used, each convolution by torch's. The others are
``test_cfg.second_step``."""


@contextmanager
def step_mode(detector: SingleStageDetector, mode: str) -> Iterator[None]:
    """Let a detector compute so much, with the same detections.

    Args:
        detector (SingleStageDetector): With an ``SRNHead``.
        mode (str): One of ``MODES``.

    Yields:
        None: In the meantime.

    Raises:
        ValueError: If the mode is 'released' and the neck gives both steps one map;
            raised by the detector's call.
    """
    head: SRNHead = detector.bbox_head
    released = mode == 'released'
    test_cfg = head.test_cfg.copy()
    test_cfg['second_step'] = 'dense' if released else mode
    with ExitStack() as stack:
        stack.enter_context(replaced(head, 'test_cfg', test_cfg))
        if released:
            stack.enter_context(
                replaced(head, 'forward', lambda maps: released_forward(head, maps))
            )
            stack.enter_context(replaced(matrix_conv, 'MOST_CELLS', {}))
        yield


def released_forward(
    head: SRNHead, x: Sequence[Tensor | DeferredMap]
) -> tuple[list[Tensor], ...]:
    """Compute both subnets of both steps on every level.

    Args:
        head (SRNHead): The head.
        x (Sequence[Tensor | DeferredMap]): See ``SRNHead.forward``, 2L maps.

    Returns:
        tuple[list[Tensor], ...]: What ``SRNHead.forward`` returns; what no level uses
        is dropped.

    Raises:
        ValueError: If there are L maps, which the released code has not.
    """
    firsts, seconds = head.split_steps(x)
    if len(x) == len(firsts):
        raise ValueError(
            'mode released needs a neck with a map of its own for each step'
        )
    first_classes = head.first_cls_predictor if head.stc_levels else head.conv_cls
    first_regression = head.first_reg_predictor if head.str_levels else head.conv_reg
    first_scores, first_deltas, scores, deltas = [], [], [], []
    for level, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        first, second = to_dense(first), to_dense(second)
        with record_function(FIRST_STEP):
            first_logits = first_classes(head.cls_subnet(first))
            first_boxes = first_regression(head.reg_subnet(first))
        if level in head.stc_levels:
            first_scores.append(first_logits)
        if level in head.str_levels:
            first_deltas.append(first_boxes)
        with record_function(SECOND_STEP):
            scores.append(head.conv_cls(head.cls_subnet(second)))
            deltas.append(head.conv_reg(head.reg_subnet(second)))
    return first_scores, first_deltas, scores, deltas
