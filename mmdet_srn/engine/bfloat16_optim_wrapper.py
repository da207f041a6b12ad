"""Mixed precision in bfloat16, on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose forward passes run in bfloat16 where that is safe.

    Weights, gradients and optimiser stay in float32. bfloat16 has float32's range,
    so there is no loss to scale and no step to skip: mmengine's ``AmpOptimWrapper``
    is for float16, brings a gradient scaler, and refuses to start without a GPU.

    Args:
        **kwargs: Those of ``OptimWrapper``: ``optimizer``, ``accumulative_counts``,
            ``clip_grad``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and what ``OptimWrapper`` does for accumulation.

        Args:
            model (nn.Module): The model, wrapped or not.
        """
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
