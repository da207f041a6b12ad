"""A convolution with many weights for few cells, as a product of matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

is_exporting = getattr(torch.compiler, 'is_exporting', bool)  # older torch lacks it

MOST_CELLS = {'cpu': 500}
"""Output cells of all images up to which the product is used; on other devices never.

For SRN's C6 (3x3, 2048 to 1024 channels, stride 2) the product was 2.2 times as fast as
torch's convolution at 80 cells, 1.3 times at 256, 1.1 times at 468, and slower at 768
(2 cores of an AMD EPYC, family 25 model 17, torch 2.13, fp32).
"""


class MatrixConv2d(nn.Conv2d):
    """``nn.Conv2d`` that, in eval mode on small maps, does not copy its weights.

    On a CPU torch reorders a convolution's weights in each call. For SRN's C6, 75 MB of
    weights for the 80 cells of a 640x480 image, that takes longer than the convolution.
    Here the input is unfolded instead and multiplied with the weights, contiguous or
    channels last. Values differ by rounding alone. Training stays the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C, H, W)."""
        # What runs an exported file lays the weights out once.
        plain = self.training or is_exporting()
        if plain or self.groups != 1 or self.padding_mode != 'zeros':
            return super().forward(x)
        height, width = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, padding, dilation, kernel, stride in zip(
                x.shape[-2:],
                self.padding,
                self.dilation,
                self.kernel_size,
                self.stride,
                strict=True,
            )
        )
        number = x.shape[0]
        cells = number * height * width
        # Under torch.compile the size may be a symbol, and what is made must fit all.
        if not isinstance(cells, int) or cells > MOST_CELLS.get(x.device.type, 0):
            return super().forward(x)
        columns = F.unfold(
            x, self.kernel_size, self.dilation, self.padding, self.stride
        )
        # (C, kernel, N, cells) or (kernel, C, N, cells), as the weights lie in memory
        columns = columns.unflatten(1, (self.in_channels, -1)).permute(1, 2, 0, 3)
        weight = self.weight.flatten(2)
        if not self.weight.is_contiguous():
            columns, weight = columns.transpose(0, 1), weight.transpose(1, 2)
        columns, weight = columns.flatten(2).flatten(0, 1), weight.flatten(1)
        if self.bias is None:
            rows = torch.mm(weight, columns)
        else:
            rows = torch.addmm(self.bias[:, None], weight, columns)
        return rows.view(-1, number, height, width).transpose(0, 1)
