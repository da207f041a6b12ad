"""Convolutional layers computed at some cells of a map only, exactly."""

from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from operator import or_
from typing import Protocol

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..necks.rfe import RFE
from .cells import Cells, Rows
from .deferred_map import Added
from .side_by_side import SideBySide

NORMS = (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)
"""Pointwise in eval mode; by their methods, as mmengine swaps the class on a CPU."""

ACTIVATIONS = (
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
)
"""Pointwise ones; others make a chain dense."""

GATHERED_BYTES = {'cpu': 4 * 2**20}
"""Size of the part of a layer's input that is gathered for one matrix product.

On a CPU it should fit the cache: gathering 1024 rows of 3x3x256 numbers took 0.16 ms
beside 12.7 ms for the product, 4096 rows 21 ms beside 53 ms (one core of an AMD EPYC,
family 25 model 17, 32 MiB of L3). Elsewhere 256 MiB, not measured.
"""


class Layer(Protocol):
    """A layer that knows which cells of its input it reads.

    Attributes:
        work: Multiply-adds per cell.
    """

    work: int

    def reach(self, cells: Cells) -> Cells:
        """Find the input cells that the given output cells read."""

    def work_at(self, have: Cells, cells: Cells) -> int:
        """Multiply-adds of ``self(Rows(have, ...), cells)``."""

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        """Compute the output at ``cells`` or more.

        The input must be there at ``reach(cells)``.
        """


class _Pointwise:
    """A layer that reads one cell alone; computed wherever there is input."""

    def __init__(self, function: Callable[[Rows], Tensor], work: int = 0) -> None:
        self.function = function
        self.work = work

    def reach(self, cells: Cells) -> Cells:
        return cells

    def work_at(self, have: Cells, cells: Cells) -> int:
        return have.count * self.work

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        return Rows(rows.cells, self.function(rows))


class _Conv:
    """A convolution whose output has the size of its zero padded input."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self.work = conv.weight.numel()
        # offsets of the rows and columns that a cell reads
        self.steps = [
            [number * dilation - padding for number in range(size)]
            for size, dilation, padding in zip(
                conv.kernel_size, conv.dilation, conv.padding, strict=True
            )
        ]

    @cached_property
    def matrix(self) -> Tensor:
        """The weight (out, kernel * in), in the order of gathered rows."""
        return self.conv.weight.permute(0, 2, 3, 1).flatten(1)

    def reach(self, cells: Cells) -> Cells:
        mask = cells.mask
        for dim, steps in enumerate(self.steps):
            if steps == [0]:
                continue
            size, given = mask.shape[dim], mask
            mask = torch.zeros_like(given)
            for step in steps:
                if (number := size - abs(step)) > 0:
                    target = mask.narrow(dim, max(step, 0), number)
                    target.logical_or_(given.narrow(dim, max(-step, 0), number))
        return Cells(mask)

    def work_at(self, have: Cells, cells: Cells) -> int:
        return cells.count * self.work

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        padded = F.pad(rows.values, (0, 0, 0, 1))  # the last row: outside the map
        limit = GATHERED_BYTES.get(padded.device.type, 256 * 2**20)
        size = self.matrix.shape[1] * padded.element_size()
        parts = [
            F.linear(
                padded.index_select(0, near.flatten()).view(-1, self.matrix.shape[1]),
                self.matrix,
                self.conv.bias,
            )
            for near in self._neighbours(rows.cells, cells).split(max(limit // size, 1))
        ]
        return Rows(cells, parts[0] if len(parts) == 1 else torch.cat(parts))

    def _neighbours(self, have: Cells, cells: Cells) -> Tensor:
        """Rows that each cell reads (cells, kernel); one more where it is outside."""
        y, x = self.conv.padding
        rows = have.rows.view_as(have.mask).where(have.mask, have.count)
        rows = F.pad(rows, (x, x, y, y), value=have.count)
        width = rows.shape[1]
        at_y = cells.indices // have.mask.shape[1]
        at_x = cells.indices % have.mask.shape[1]
        centres = (at_y + y) * width + at_x + x
        down, right = self.steps
        steps = centres.new_tensor([dy * width + dx for dy in down for dx in right])
        return rows.flatten()[centres[:, None] + steps]


class Chain:
    """Layers one after the other; gives exactly the cells that it is asked for."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.work = sum(layer.work for layer in layers)

    def reach(self, cells: Cells) -> Cells:
        """See ``Layer``."""
        for layer in reversed(self.layers):
            cells = cells.read_by(layer)
        return cells

    def work_at(self, have: Cells, cells: Cells) -> int:
        """See ``Layer``."""
        total = 0
        for layer, output in self._outputs(cells):
            if layer.work:
                total += layer.work_at(have, output)
            have = have if isinstance(layer, _Pointwise) else output
        return total

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        """See ``Layer``; the output is at ``cells`` alone."""
        for layer, output in self._outputs(cells):
            rows = layer(rows, output)
        return Rows(cells, rows.at(cells))

    def _outputs(self, cells: Cells) -> list[tuple[Layer, Cells]]:
        """Each layer with the cells that are wanted of its output."""
        outputs = []
        for layer in reversed(self.layers):
            outputs.append((layer, cells))
            cells = cells.read_by(layer)
        return outputs[::-1]


class _Enhancement:
    """An ``RFE``."""

    def __init__(self, rfe: RFE) -> None:
        self.branches = [Chain(_layers(branch)) for branch in rfe.branches]
        self.fuse = Chain(_layers(rfe.fuse))
        self.work = sum(chain.work for chain in (*self.branches, self.fuse))

    def reach(self, cells: Cells) -> Cells:
        inner = self.fuse.reach(cells)
        reaches = [branch.reach(inner).mask for branch in self.branches]
        return Cells(reduce(or_, reaches, cells.mask))

    def work_at(self, have: Cells, cells: Cells) -> int:
        inner = self.fuse.reach(cells)
        work = self.fuse.work_at(inner, cells)
        return work + sum(branch.work_at(have, inner) for branch in self.branches)

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        inner = self.fuse.reach(cells)
        branches = [branch(rows, inner).values for branch in self.branches]
        fused = self.fuse(Rows(inner, torch.cat(branches, dim=1)), cells)
        return Rows(cells, rows.at(cells) + fused.values)


class _SideBySide:
    """A ``SideBySide``."""

    def __init__(self, module: SideBySide) -> None:
        self.convs = [Chain(_layers(conv)) for conv in module.convs]
        self.join = module.join
        self.work = sum(conv.work for conv in self.convs)

    def reach(self, cells: Cells) -> Cells:
        return Cells(reduce(or_, (conv.reach(cells).mask for conv in self.convs)))

    def work_at(self, have: Cells, cells: Cells) -> int:
        return sum(conv.work_at(have, cells) for conv in self.convs)

    def __call__(self, rows: Rows, cells: Cells) -> Rows:
        return Rows(cells, self.join([conv(rows, cells).values for conv in self.convs]))


class UnknownLayerError(Exception):
    """A module that cannot be computed at some cells only, or is not known."""


def sparse_chain(module: nn.Module) -> Chain | None:
    """Make a chain that computes a module at some cells; None if that is impossible.

    Known are ``nn.Sequential``, mmcv's ``ConvModule``, ``RFE``, ``SideBySide``,
    convolutions of stride 1 that keep the size, batch norm in eval mode, pointwise
    activations and, for one image, ``Added``. A group norm, for example, sees the whole
    map. A module with hooks or a patched ``forward`` is unknown, as these would not be
    called.
    """
    try:
        return Chain(_layers(module))
    except UnknownLayerError:
        return None


def _layers(module: nn.Module) -> list[Layer]:
    parts = [part for part in parts_of(module) if not isinstance(part, nn.Identity)]
    # In place on its input it would change what others read.
    if parts and getattr(parts[0], 'inplace', False):
        raise UnknownLayerError(parts[0])
    return [_layer(part) for part in parts]


def parts_of(module: nn.Module) -> list[nn.Module]:
    """Modules that a container applies one after the other."""
    patched = 'forward' in vars(module)
    if patched or module._forward_hooks or module._forward_pre_hooks:
        raise UnknownLayerError(module)
    if type(module) is nn.Sequential:
        return [part for child in module for part in parts_of(child)]
    if type(module) is ConvModule and not module.with_explicit_padding:
        own = dict(
            conv=module.conv,
            norm=module.norm if module.with_norm else None,
            act=module.activate if module.with_activation else None,
        )
        used = [own[name] for name in module.order if own[name] is not None]
        return [part for child in used for part in parts_of(child)]
    return [module]


def _layer(module: nn.Module) -> Layer:
    """Make the layer of a module that is no container, by its exact type."""
    if type(module) is RFE:
        return _Enhancement(module)
    if type(module) is SideBySide:
        return _SideBySide(module)
    if type(module) is Added and len(module.addend) == 1:
        return _Pointwise(
            lambda rows: rows.values + Rows.of(module.addend[0], rows.cells).values
        )
    if type(module) is nn.Conv2d and keeps_size(module):
        if module.kernel_size == (1, 1):
            return _Pointwise(
                lambda rows: F.linear(
                    rows.values, module.weight.flatten(1), module.bias
                ),
                module.weight.numel(),
            )
        return _Conv(module)
    if type(module).forward in NORMS and not (
        module.training or module.running_mean is None
    ):
        return _Pointwise(
            lambda rows: F.batch_norm(
                rows.values,
                module.running_mean,
                module.running_var,
                module.weight,
                module.bias,
                eps=module.eps,
            )
        )
    if type(module) in ACTIVATIONS:
        return _Pointwise(lambda rows: module(rows.values))
    raise UnknownLayerError(module)


def keeps_size(conv: nn.Conv2d) -> bool:
    """Tell whether a plain convolution's output has the size of its input."""
    if conv.stride != (1, 1) or conv.groups != 1 or conv.padding_mode != 'zeros':
        return False
    return not isinstance(conv.padding, str) and all(
        2 * padding == dilation * (kernel - 1)
        for padding, dilation, kernel in zip(
            conv.padding, conv.dilation, conv.kernel_size, strict=True
        )
    )
