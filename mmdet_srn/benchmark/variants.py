"""A detector in another mode of its steps, precision, memory format or form."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from mmdet.models import SingleStageDetector
from torch import Tensor

from ..models.cpu import matrix_conv
from ..models.cpu.fold_norms import fold_norms
from ..models.dense_heads import QuerySRNHead, SRNHead
from ..models.sparse.deferred_map import DeferredMap, to_dense

MODES = ('released', 'dense', 'auto', 'sparse')
"""'released' computes what the authors' code does: both subnets of both steps on every
map, whether or not it is used, and each convolution by torch's. The others are values
of ``test_cfg.second_step``."""
#: Autocast; memory format of images and weights, whatever the config says; the
#: backbone's batch norms folded into its convolutions or not; backbone and neck through
#: ``torch.compile``; a ``QuerySRNHead`` whose branch is not asked.
PRECISIONS = dict(bf16=torch.bfloat16, fp16=torch.float16)
FORMATS = dict(contiguous=torch.contiguous_format, channels_last=torch.channels_last)
NORMS = ('folded', 'unfolded')
CHANGES = (*PRECISIONS, *FORMATS, *NORMS, 'compiled', 'unasked')


def change_detector(
    detector: SingleStageDetector, names: Iterable[str]
) -> tuple[SingleStageDetector, Callable[[], AbstractContextManager]]:
    """Make a copy of a detector with some of ``CHANGES``; without any, return itself.

    Returns:
        The detector, and a factory of the context in which to call it.

    Raises:
        ValueError: If two changes exclude each other, or the device does not have one.
    """
    names = set(names)
    for group in (PRECISIONS, FORMATS, NORMS):
        if len(both := sorted(names & set(group))) > 1:
            raise ValueError(f'{both[0]} and {both[1]} exclude each other')
    [precision] = names & set(PRECISIONS) or ['fp32']
    context = partial(precision_context, precision, next(detector.parameters()).device)
    context()
    if not names:
        return detector, context
    detector = copy.deepcopy(detector)
    if 'folded' in names:
        detector.backbone = fold_norms(detector.backbone)
    for name in names & set(FORMATS):
        detector = detector.to(memory_format=FORMATS[name])

        def lay_out(_: Any, __: Any, data: dict, wanted: Any = FORMATS[name]) -> dict:
            return {**data, 'inputs': data['inputs'].contiguous(memory_format=wanted)}

        detector.data_preprocessor.register_forward_hook(lay_out)
    if 'unasked' in names:
        if not isinstance(detector.bbox_head, QuerySRNHead):
            raise ValueError('unasked is for a QuerySRNHead')
        detector.bbox_head.query_levels = ()
    if 'compiled' in names:
        detector.backbone = torch.compile(detector.backbone)
        detector.neck = torch.compile(detector.neck)
    return detector, context


def precision_context(name: str, device: torch.device) -> AbstractContextManager:
    """Make autocast to a precision, or no change for 'fp32'.

    Raises:
        ValueError: If the device does not have it (autocast to fp16 on a CPU).
    """
    if name == 'fp32':
        return nullcontext()
    if name == 'fp16' and device.type == 'cpu':
        raise ValueError("fp16 is for GPUs; bf16 is the CPU's")
    return torch.autocast(device.type, dtype=PRECISIONS[name])


@contextmanager
def compute_as(head: SRNHead, mode: str) -> Iterator[None]:
    """Let a head compute both steps in one of ``MODES``.

    The detections stay the same, but for what a ``QuerySRNHead``'s branch leaves out.
    In mode 'released', a neck with one map for both steps makes the head raise a
    ValueError when it is called.
    """
    released = mode == 'released'
    test_cfg = head.test_cfg.copy()
    test_cfg['second_step'] = 'dense' if released else mode
    forward = partial(released_forward, head) if released else head.forward
    most_cells = {} if released else matrix_conv.MOST_CELLS
    with (
        patch.multiple(head, test_cfg=test_cfg, forward=forward),
        patch.object(matrix_conv, 'MOST_CELLS', most_cells),
    ):
        yield


def released_forward(
    head: SRNHead, x: Sequence[Tensor | DeferredMap]
) -> tuple[list[Tensor], ...]:
    """Compute both subnets of both steps on every level of 2L maps (N, C, H, W).

    Returns:
        What ``SRNHead.forward`` returns; outputs that no level uses are dropped.
    """
    levels = range(head.prior_generator.num_levels)
    if len(x) == len(levels):
        raise ValueError('released needs a neck with a map of its own for each step')
    number = len(levels)
    # A map of each step's own, also where the neck returns one twice.
    x = [*(to_dense(each).detach() for each in x[:number]), *x[number:]]
    everywhere = dict(stc_levels=levels, str_levels=levels)
    # Without a first step there is no predictor of its own.
    if not head.stc_levels:
        everywhere['share_cls_predictor'] = True
    if not head.str_levels:
        everywhere['share_reg_predictor'] = True
    with patch.multiple(head, **everywhere):
        first_scores, first_deltas, *second = SRNHead.forward(head, x)
    first_scores = [first_scores[level] for level in head.stc_levels]
    first_deltas = [first_deltas[level] for level in head.str_levels]
    return first_scores, first_deltas, *second
