"""Weights that fit their model, or an error that says why not."""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdet_srn._stack import uses_openmmlab


class UnfitError(ValueError):
    """Weights that are not the model's; the message says how they differ."""


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, as mmengine does.

    mmengine may run code from the file, where it holds more than tensors and numbers:
    only load what you trust.

    Args:
        path: What ``torch.save`` wrote.

    Returns:
        Its content, with the weights as ``state_dict``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no weights or is damaged.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(
            str(path), map_location='cpu', logger='silent'
        )
    except OSError:
        raise
    except Exception as error:  # a file of other content can raise anything
        reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0][:160]
        hint = ''
        if uses_openmmlab():
            hint = (
                "; open-mmlab's mmengine reads whole checkpoints with torch >= 2.6 "
                'only under TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1'
            )
        raise ValueError(
            f'{path} is no PyTorch checkpoint or is damaged ({reason}){hint}'
        ) from error
    state = checkpoint
    if isinstance(checkpoint, Mapping):
        state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping) or not any(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ValueError(f'{path} holds no weights')
    return checkpoint if state is not checkpoint else dict(state_dict=state)


def check_fit(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Raises if a checkpoint's weights are not the model's, all of them.

    Args:
        model: The model.
        checkpoint: With ``state_dict``; a prefix ``module.`` is passed over.

    Raises:
        UnfitError: If weights are missing, unexpected or of another shape.
    """
    wanted = model.state_dict()
    given = {
        re.sub(r'^module\.', '', k): v for k, v in checkpoint['state_dict'].items()
    }
    problems = {
        # BatchNorm's counters are no weights; old checkpoints lack them.
        'missing': [
            name
            for name in wanted
            if name not in given and not name.endswith('num_batches_tracked')
        ],
        'unexpected': [name for name in given if name not in wanted],
        'of another shape': [
            f'{name} {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}'
            for name in given
            if name in wanted and given[name].shape != wanted[name].shape
        ],
    }
    lines = [
        f'{len(names)} {kind}, such as {names[0]}'
        for kind, names in problems.items()
        if names
    ]
    if lines:
        raise UnfitError(f'of {len(wanted)} tensors, ' + '; '.join(lines))
