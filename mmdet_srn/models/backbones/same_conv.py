"""TensorFlow's convolution with "same" padding, for training and export on a CPU."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..cpu.matrix_conv import is_exporting


@MODELS.register_module()  # where mmcv looks for layers
class SameConv2d(nn.Conv2d):
    """``Conv2dAdaptivePadding`` of mmcv for odd kernels from the stride up, for CPUs.

    With stride 1 the padding is the convolution's own, so nothing is copied. Nor is it
    in depthwise ones without gradients (at test, in frozen stages), whose kernels get
    a row and a column of zeros instead where the padding is uneven: half the time; with
    gradients it was slower. Under autocast depthwise convolutions stay in float32 on a
    CPU: in bfloat16 their gradients took 2 to 7 times as long (torch 2.13, channels
    last, a Xeon with AMX).

    Args:
        in_channels: See ``nn.Conv2d``.
        out_channels: See ``nn.Conv2d``.
        kernel_size: Odd, and not below the stride.
        stride: See ``nn.Conv2d``.
        padding: Not used.
        **kwargs: See ``nn.Conv2d``.

    Raises:
        ValueError: If the kernel does not fit, or is dilated.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        **kwargs,
    ) -> None:
        fits = kernel_size % 2 == 1 and kernel_size >= stride
        if not fits or kwargs.get('dilation', 1) != 1:
            raise ValueError(
                'SameConv2d needs an odd kernel from the stride up, and no dilation: '
                f'{kernel_size=}, {stride=}, {kwargs}'
            )
        own = kernel_size // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, own, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        depthwise = self.groups > 1 and x.device.type == 'cpu'
        if depthwise and torch.is_autocast_enabled('cpu'):
            with torch.autocast('cpu', enabled=False):
                return self(x.to(self.weight.dtype))
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return super().forward(x)
        totals = [kernel - stride + -size % stride for size in x.shape[-2:]]
        (top, bottom), (left, right) = ((t // 2, t - t // 2) for t in totals)
        needs_grad = torch.is_grad_enabled() and (
            x.requires_grad or self.weight.requires_grad
        )
        if depthwise and not needs_grad and not is_exporting():
            weight = F.pad(self.weight, (right - left, 0, bottom - top, 0))
            padding = (bottom, right)
            return F.conv2d(x, weight, self.bias, stride, padding, groups=self.groups)
        return super().forward(F.pad(x, (left, right, top, bottom)))
