"""Read checkpoints without running code from them, and check that they fit a model.

mmengine reads every checkpoint through ``CheckpointLoader``. Importing this module
replaces its loader, which falls back to unsafe loading, by :func:`torch_load`.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from os import PathLike
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ._stack import release
from .trust import SAFE, TRUST, is_trusted


class UnfitError(ValueError):
    """Weights that do not fit a model; the message says how they differ."""


def torch_load(
    path: str | PathLike[str], map_location: Any = None, mmap: bool | None = None
) -> Any:
    """Read a file that ``torch.save`` wrote, without running code from it.

    It may hold tensors, plain data and what mmengine's message hub holds; anything else
    needs ``--trust-checkpoint``. The arguments are those of ``torch.load``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is refused or damaged.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    with _errors_of(path), _safe_globals():
        loaded = torch.load(
            path, map_location=map_location, weights_only=not is_trusted(), mmap=mmap
        )
    return _without_config(loaded)


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; its weights are its ``state_dict``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no weights, is damaged, or could run code.
    """
    checkpoint = CheckpointLoader.load_checkpoint(
        str(path), map_location='cpu', logger='silent'
    )
    state = _weights(checkpoint)
    if state is None:
        raise ValueError(f'{path} holds no weights')
    return checkpoint if state is not checkpoint else dict(state_dict=state)


def find_misfits(model: nn.Module, checkpoint: Any) -> dict[str, list[str]]:
    """Find the weights in which a checkpoint and a model (or what it wraps) differ.

    Args:
        model: The model.
        checkpoint: With or without ``state_dict``; a prefix ``module.`` is ignored.

    Returns:
        Names by kind, where there are any: missing, unexpected, of another shape.

    Raises:
        UnfitError: If the checkpoint holds no weights.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    state = _weights(checkpoint)
    if state is None:
        raise UnfitError('it holds no weights')
    wanted = model.state_dict()
    given = {re.sub(r'^module\.', '', str(k)): v for k, v in state.items()}
    shapes = {k: tuple(getattr(v, 'shape', ('none',))) for k, v in given.items()}
    problems = {
        'missing': [n for n in wanted if n not in given and not is_counter(n)],
        'unexpected': [n for n in given if n not in wanted and not is_counter(n)],
        'of another shape': [
            f'{name} {shapes[name]}, not {tuple(wanted[name].shape)}'
            for name in given
            if name in wanted and shapes[name] != tuple(wanted[name].shape)
        ],
    }
    return {kind: names for kind, names in problems.items() if names}


def check_fit(model: nn.Module, checkpoint: Any) -> None:
    """Raise an UnfitError unless all of a checkpoint's weights are the model's."""
    if problems := find_misfits(model, checkpoint):
        lines = [
            f'{len(names)} {kind}, such as {names[0]}'
            for kind, names in problems.items()
        ]
        raise UnfitError(f'of {len(model.state_dict())} tensors, ' + '; '.join(lines))


def load_weights(
    model: nn.Module, path: str | PathLike[str], name: str
) -> dict[str, Any]:
    """Load all weights of a checkpoint into a model; return the checkpoint.

    Args:
        model: The model.
        path: The checkpoint.
        name: Of the model, for an error.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it does not fit, holds no weights, is damaged, or could run code.
    """
    checkpoint = load_checkpoint(path)
    try:
        check_fit(model, checkpoint)
    except UnfitError as error:
        raise ValueError(f'{path} does not fit {name}: {error}') from error
    weights = checkpoint['state_dict'].items()
    state = {re.sub(r'^module\.', '', key): value for key, value in weights}
    model.load_state_dict(state, strict=False)  # only counters may be missing now
    return checkpoint


def is_counter(name: str) -> bool:
    """Whether it is a counter of BatchNorm (old checkpoints lack it) or of SRNHead.

    A head has ``AvgFactors`` only if its training config asks for them.
    """
    return name.endswith('num_batches_tracked') or 'avg_factors.' in name


def _without_config(checkpoint: Any) -> Any:
    """Drop a config that mmdet 2 wrote as text; ``--resume`` would run it as Python."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if isinstance(meta, dict) and not is_trusted():
        meta.pop('config', None)
    return checkpoint


def _weights(checkpoint: Any) -> Mapping[str, Any] | None:
    """Return the weights of a checkpoint, which may be a bare state; None if none."""
    state = checkpoint
    if isinstance(checkpoint, Mapping):
        state = checkpoint.get('state_dict', checkpoint)
    is_state = isinstance(state, Mapping) and any(
        isinstance(value, Tensor) for value in state.values()
    )
    return state if is_state else None


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    """Name the file in an error, and say what to do."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # a file of other content can raise anything
        refused = re.search(r'(?:GLOBAL|unrecognized function) (\S+)', str(error))
        if isinstance(error, UnpicklingError) and refused:
            raise ValueError(
                f'{path} is refused, as it could run code: it needs {refused[1]}, '
                'which is neither weights nor a training state. Only if you trust '
                f'where it comes from: --trust-checkpoint, or {TRUST}=1'
            ) from error
        reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0][:160]
        raise ValueError(
            f'{path} is no PyTorch checkpoint or is damaged ({reason})'
        ) from error


def _method_of_buffer(owner: Any, name: str) -> Any:
    """Provide ``getattr`` as the pickle of a HistoryBuffer needs it, nothing more."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise UnpicklingError(f'GLOBAL getattr({owner!r},{name!r})')


@contextmanager
def _safe_globals() -> Iterator[None]:
    """Allow what mmengine's checkpoints hold beside tensors: its message hub.

    As onedl-mmengine's ``get_torch_safe_globals``, which open-mmlab lacks, with all of
    NumPy's number types, but ``getattr`` only for that class: it could reach anything.
    """
    if release(torch.__version__) < (2, 6):  # weights alone, without a training state
        yield
        return
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    numbers = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'
    allowed: list[Any] = [np.ndarray, np.dtype, slice, HistoryBuffer]
    allowed += {type(np.dtype(code)) for code in numbers}
    allowed += [(_method_of_buffer, 'builtins.getattr')]
    for core in ('numpy.core', 'numpy._core'):  # NumPy 1's and 2's
        allowed += [
            (getattr(multiarray, name), f'{core}.multiarray.{name}')
            for name in ('_reconstruct', 'scalar')
        ]
    with torch.serialization.safe_globals(allowed):
        yield


def _safely(loader: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap one of mmengine's loaders of addresses, with ``weights_only=True``."""

    @wraps(loader)
    def load(filename: str, map_location: Any = None) -> Any:
        if is_trusted():
            return loader(filename, map_location)
        before = os.environ.get(SAFE)
        os.environ[SAFE] = '1'  # it goes over an argument weights_only=False
        try:
            with _errors_of(filename), _safe_globals():
                return _without_config(loader(filename, map_location))
        finally:
            if before is None:
                del os.environ[SAFE]
            else:
                os.environ[SAFE] = before

    return load


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """:func:`torch_load` under the name that mmengine's log shows."""
    return torch_load(filename, map_location)


for _prefix, _loader in list(CheckpointLoader._schemes.items()):
    CheckpointLoader.register_scheme(
        _prefix, _safely(_loader) if _prefix else load_from_local, force=True
    )
