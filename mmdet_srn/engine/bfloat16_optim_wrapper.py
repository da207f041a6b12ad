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
    """``OptimWrapper`` that runs forward passes in bfloat16 where that is safe.

    Weights, gradients and optimizer stay in float32. bfloat16 has float32's range, so
    there is no loss to scale and no step to skip; mmengine's ``AmpOptimWrapper`` is for
    float16, scales gradients and refuses to start without a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and the context for accumulated gradients."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
