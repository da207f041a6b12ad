"""The same detector in another precision, memory format or form."""

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from mmdet.models import SingleStageDetector
from torch import Tensor

from ..models.cpu.fold_norms import fold_norms

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}
FORMATS = {
    'contiguous': torch.contiguous_format,
    'channels_last': torch.channels_last,
}
NORMS = ('folded', 'unfolded')
VARIANTS = (*PRECISIONS, *FORMATS, *NORMS, 'compiled')
"""Autocast to bf16 or fp16; the memory format of images and weights, whatever the
config says; batch norms of the backbone folded into its convolutions or not; backbone
and neck through ``torch.compile``."""


def make_variant(
    detector: SingleStageDetector, names: Iterable[str]
) -> tuple[SingleStageDetector, Callable[[], AbstractContextManager]]:
    """Make a copy of a detector, changed.

    Args:
        detector (SingleStageDetector): In evaluation mode; left as it is.
        names (Iterable[str]): Of ``VARIANTS``; none is the detector itself.

    Returns:
        tuple: The detector, and what makes the context in which it is to be called.

    Raises:
        ValueError: If a name is unknown, two exclude each other, or fp16 is asked for
            on a CPU (autocast there knows bf16 alone).
    """
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ValueError(f'{unknown[0]!r} is none of {", ".join(VARIANTS)}')
    for group in (PRECISIONS, FORMATS, NORMS):
        if len(both := [name for name in names if name in group]) > 1:
            raise ValueError(f'{both[0]} and {both[1]} exclude each other')
    device = next(detector.parameters()).device
    for name in names:
        if name in PRECISIONS:
            precision_context(name, device)
    if not names:
        return detector, nullcontext
    detector = copy.deepcopy(detector)
    context = nullcontext
    if 'folded' in names:
        detector.backbone = fold_norms(detector.backbone)
    for name in names:
        if name in FORMATS:
            detector = detector.to(memory_format=FORMATS[name])
            _lay_out_images(detector, FORMATS[name])
        if name in PRECISIONS:
            context = partial(precision_context, name, device)
    if 'compiled' in names:
        detector.backbone = torch.compile(detector.backbone)
        detector.neck = torch.compile(detector.neck)
    return detector, context


def precision_context(name: str, device: torch.device) -> AbstractContextManager:
    """Make the context of a precision.

    Args:
        name (str): Of ``PRECISIONS``.
        device (torch.device): Where it is computed.

    Returns:
        AbstractContextManager: Autocast.

    Raises:
        ValueError: If the device has it not (autocast to fp16 on a CPU).
    """
    if name == 'fp16' and device.type == 'cpu':
        raise ValueError("fp16 is for GPUs; bf16 is the CPU's")
    return torch.autocast(device.type, dtype=PRECISIONS[name])


def _lay_out_images(
    detector: SingleStageDetector, memory_format: torch.memory_format
) -> None:
    def lay_out(module: object, args: tuple, output: dict) -> dict:
        inputs: Tensor = output['inputs']
        return {**output, 'inputs': inputs.contiguous(memory_format=memory_format)}

    detector.data_preprocessor.register_forward_hook(lay_out)
