"""ONNX nodes of the second step of one level, all over it or at some cells.

The layers at some cells are those of ``models.sparse``, here for a whole batch and as
nodes: NonZero finds the cells, Gather the rows that each reads, MatMul applies a
convolution, ScatterND lays the result out as a map.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..models.necks import RFE
from ..models.sparse import partial_map
from ..models.sparse.sparse_layers import UnknownLayerError, keeps_size, parts_of

SPARSE_COST = partial_map.SPARSE_COST['cpu']
"""Cost of sparse multiply-adds in dense ones: a factor, an overhead.

Those of ``models.sparse`` in PyTorch. With ResNet-50 at 640x480, onnxruntime 1.32 and
one thread, sparse multiply-adds cost 1.53 dense ones with 3 % of the cells left and
1.24 with 30 %.
"""

Layers = list[nn.Module]
"""``nn.Conv2d`` that keep the size, ``nn.ReLU`` and ``RFE``."""


def known_layers(module: nn.Module) -> Layers | None:
    """Layers that a module applies in turn; None if one cannot be computed sparsely."""
    try:
        parts = [part for part in parts_of(module) if not isinstance(part, nn.Identity)]
    except UnknownLayerError:
        return None
    return parts if all(map(_is_known, parts)) else None


def _is_known(part: nn.Module) -> bool:
    if type(part) is RFE:
        return None not in map(known_layers, (*part.branches, part.fuse))
    is_conv = type(part) is nn.Conv2d and keeps_size(part) and part.bias is not None
    return is_conv or type(part) is nn.ReLU


def convolutions(layers: Layers) -> Iterator[nn.Conv2d]:
    """All convolutions, those inside of ``RFE`` as well."""
    for layer in layers:
        if type(layer) is RFE:
            for part in (*layer.branches, layer.fuse):
                yield from convolutions(known_layers(part))
        elif type(layer) is nn.Conv2d:
            yield layer


def write_second_step(
    op: Any,
    source: Any,
    cells: Any,
    weights: Sequence[Any],
    maker: Layers,
    readers: list[Layers],
    way: str,
    level: int,
) -> Any:
    """Write the nodes of ``second_step``; return its output.

    Args:
        op: Writes a node of the graph for each call.
        source: See ``second_step``, and for the next two.
        cells: The same.
        weights: The same.
        maker: Layers that make the map of ``source``.
        readers: Layers of each reader of the map.
        way: 'auto' or 'sparse'.
        level: A number for the names of the branches' values.
    """
    import onnx_ir as ir

    convs = [conv for layers in (maker, *readers) for conv in convolutions(layers)]
    values = dict(
        zip(convs, zip(weights[::2], weights[1::2], strict=True), strict=True)
    )
    graph = _Cells(op)
    out = graph.add(cells)
    need = graph.union(*(graph.before(layers, out) for layers in readers))
    rows = op.Transpose(source, perm=[0, 2, 3, 1])
    matrices = {conv: _as_matrix(op, conv, values[conv][0]) for conv in convs}

    def write_sparse(op: Any) -> Any:
        sparse = _Sparse(op, graph, matrices, {c: v[1] for c, v in values.items()})
        have = graph.before(maker, need)
        made = sparse.run(maker, have, sparse.take(rows, have), need)
        return op.Concat(
            *(
                sparse.as_map(sparse.run(part, need, made, out), out)
                for part in readers
            ),
            axis=1,
        )

    # before the branches, so that all masks are the outer graph's
    work: dict[Any, int] = {}
    for layers, wanted in ((maker, need), *((part, out) for part in readers)):
        graph.add_work(layers, wanted, work)
    graph.before(maker, need)
    if way == 'sparse':
        return write_sparse(op)
    factor, overhead = SPARSE_COST
    per_cell = sum(conv.weight.numel() for conv in convs)

    def number(value: float) -> Any:
        return op.Constant(value_float=float(value))

    terms = [op.Mul(graph.count(c), number(factor * each)) for c, each in work.items()]
    sizes = op.Cast(op.Size(cells), to=1)
    pays = op.Less(op.Sum(*terms, number(overhead)), op.Mul(sizes, number(per_cell)))

    # Convolutions of an If's branch are slower: onnxruntime does not lay their weights
    # out. So the batch for them is empty where it is not computed all over.
    every = op.Expand(op.Not(pays), op.Shape(cells, start=0, end=1))
    images = op.Reshape(op.NonZero(every), op.Constant(value_ints=[-1]))
    made = _dense(op, maker, op.Gather(source, images), values)
    parts = (_dense(op, part, made, values) for part in readers)
    dense = op.Concat(*parts, axis=1)

    def branch(write: Callable, name: str) -> Any:
        tape = ir.tape.Tape()
        output = write(Writer(tape))
        for place, node in enumerate(tape.nodes):
            node.name = f'second_step_{level}.{name}.{place}.{node.op_type}'
            for each in node.outputs:
                each.name = node.name
        return ir.Graph([], [output], nodes=tape.nodes, name=f'{name}_{level}')

    return op.If(
        pays,
        then_branch=branch(write_sparse, 'sparse'),
        else_branch=branch(lambda op: op.Identity(dense), 'dense'),
    )


class Writer:
    """Writes a node on a tape for each call, as onnxscript's opsets do in a graph."""

    def __init__(self, tape: Any) -> None:
        self._tape = tape

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *inputs, **attributes: self._tape.op(name, inputs, attributes)


def _dense(op: Any, layers: Layers, x: Any, values: dict) -> Any:
    """Layers all over a map."""
    for layer in layers:
        if type(layer) is RFE:
            parts = [_dense(op, known_layers(b), x, values) for b in layer.branches]
            fused = op.Concat(*parts, axis=1)
            x = op.Add(x, _dense(op, known_layers(layer.fuse), fused, values))
        elif type(layer) is nn.ReLU:
            x = op.Relu(x)
        else:
            x = op.Conv(x, *values[layer], pads=[*layer.padding] * 2, **_kernel(layer))
    return x


def _kernel(conv: nn.Conv2d) -> dict[str, list[int]]:
    return dict(kernel_shape=[*conv.kernel_size], dilations=[*conv.dilation])


def _as_matrix(op: Any, conv: nn.Conv2d, weight: Any) -> Any:
    """Lay a weight (out, in, h, w) out as (h * w * in, out)."""
    shape = op.Constant(value_ints=[-1, conv.out_channels])
    return op.Reshape(op.Transpose(weight, perm=[2, 3, 1, 0]), shape)


class _Memo:
    """Makes a part of a graph once for each key."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class _Cells(_Memo):
    """Sets of cells of the maps, as masks (N, 1, H, W) of 0 and 1, each made once.

    A set is a number, of the mask in ``masks``.
    """

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op = op
        self.masks: list[Any] = []

    def add(self, mask: Any) -> int:
        self.masks.append(mask)
        return len(self.masks) - 1

    def reach(self, conv: nn.Conv2d, cells: int) -> int:
        """Find what a convolution reads for its output at some cells."""
        if conv.kernel_size == (1, 1):
            return cells

        def make() -> int:
            pads = [*conv.padding] * 2
            pooled = self.op.MaxPool(self.masks[cells], pads=pads, **_kernel(conv))
            # onnxscript's also gives the places
            return self.add(pooled[0] if isinstance(pooled, Sequence) else pooled)

        return self.once((cells, conv.kernel_size, conv.dilation), make)

    def union(self, *sets: int) -> int:
        sets = tuple(sorted(set(sets)))
        if len(sets) == 1:
            return sets[0]
        masks = [self.masks[each] for each in sets]
        return self.once(sets, lambda: self.add(self.op.Max(*masks)))

    def count(self, cells: int) -> Any:
        return self.once(
            ('count', cells), lambda: self.op.ReduceSum(self.masks[cells], keepdims=0)
        )

    def before(self, layers: Layers, cells: int) -> int:
        """Find what layers read for their output at some cells."""
        for layer in reversed(layers):
            if type(layer) is RFE:
                inner = self.before(known_layers(layer.fuse), cells)
                reads = (self.before(known_layers(b), inner) for b in layer.branches)
                cells = self.union(cells, *reads)
            elif type(layer) is not nn.ReLU:
                cells = self.reach(layer, cells)
        return cells

    def add_work(self, layers: Layers, cells: int, work: dict[int, int]) -> None:
        """Add the multiply-adds a cell of each set to ``work``."""
        for layer in reversed(layers):
            if type(layer) is RFE:
                fuse = known_layers(layer.fuse)
                self.add_work(fuse, cells, work)
                for part in layer.branches:
                    self.add_work(known_layers(part), self.before(fuse, cells), work)
            elif type(layer) is not nn.ReLU:
                work[cells] = work.get(cells, 0) + layer.weight.numel()
            cells = self.before([layer], cells)


class _Sparse(_Memo):
    """Layers at some cells: rows (number of cells, C), in the order of the cells."""

    def __init__(self, op: Any, graph: _Cells, matrices: dict, biases: dict) -> None:
        super().__init__()
        self.op, self.graph = op, graph
        self.matrices, self.biases = matrices, biases

    def ints(self, *values: int) -> Any:
        return self.once(values, lambda: self.op.Constant(value_ints=[*values]))

    def places(self, cells: int, padding: tuple[int, int] = (0, 0)) -> Any:
        """Where cells are in the flattened mask, (number of cells, )."""

        def make() -> Any:
            mask = self.padded(self.graph.masks[cells], padding)
            flat = self.op.Reshape(mask, self.ints(-1))
            return self.op.Reshape(self.op.NonZero(flat), self.ints(-1))

        return self.once(('places', cells, padding), make)

    def padded(self, mask: Any, padding: tuple[int, int]) -> Any:
        if padding == (0, 0):
            return mask
        return self.op.Pad(mask, self.ints(0, 0, *padding, 0, 0, *padding))

    def numbers(self, cells: int, padding: tuple[int, int] = (0, 0)) -> Any:
        """Row of each cell, from 1, and 0 where there is none: (N, 1, H, W)."""

        def make() -> Any:
            op, mask = self.op, self.graph.masks[cells]
            if padding != (0, 0):
                return self.padded(self.numbers(cells), padding)
            places = self.places(cells)
            one = op.Constant(value_int=1)
            end = op.Add(op.Size(places), one)
            none = op.Cast(op.Reshape(op.Sub(mask, mask), self.ints(-1)), to=7)
            flat = op.ScatterElements(none, places, op.Range(one, end, one))
            return op.Reshape(flat, op.Shape(mask))

        return self.once(('numbers', cells, padding), make)

    def near(self, conv: nn.Conv2d, have: int, want: int) -> Any:
        """Rows that each cell reads, (number of cells, kernel)."""

        def make() -> Any:
            op, padding = self.op, conv.padding
            numbers = self.numbers(have, padding)
            down, right = (
                np.arange(size) * dilation - pad
                for size, dilation, pad in zip(
                    conv.kernel_size, conv.dilation, padding, strict=True
                )
            )
            kernel = len(down) * len(right)
            width = op.Shape(numbers, start=3, end=4)
            steps = op.Mul(self.ints(*np.repeat(down, len(right)).tolist()), width)
            steps = op.Add(steps, self.ints(*np.tile(right, len(down)).tolist()))
            places = op.Reshape(self.places(want, padding), self.ints(-1, 1))
            places = op.Add(places, op.Reshape(steps, self.ints(1, kernel)))
            return op.Gather(op.Reshape(numbers, self.ints(-1)), places)

        key = (have, want, conv.kernel_size, conv.dilation)
        return self.once(key, make)

    def take(self, rows: Any, cells: int) -> Any:
        """Rows of a map (N, H, W, C)."""
        channels = self.op.Shape(rows, start=3, end=4)
        shape = self.op.Concat(self.ints(-1), channels, axis=0)
        return self.op.Gather(self.op.Reshape(rows, shape), self.places(cells))

    def some(self, rows: Any, have: int, want: int) -> Any:
        """Rows of some of the cells."""
        if have == want:
            return rows
        op = self.op

        def make() -> Any:
            flat = op.Reshape(self.numbers(have), self.ints(-1))
            return op.Sub(op.Gather(flat, self.places(want)), self.ints(1))

        return op.Gather(rows, self.once(('some', have, want), make))

    def run(self, layers: Layers, have: int, rows: Any, want: int) -> Any:
        """Apply layers to the rows of some cells."""
        op, wanted = self.op, [want]
        for layer in reversed(layers):
            wanted.append(self.graph.before([layer], wanted[-1]))
        for layer, cells in zip(layers, wanted[-2::-1], strict=True):
            if type(layer) is nn.ReLU:
                rows = op.Relu(rows)
            elif type(layer) is RFE:
                fuse = known_layers(layer.fuse)
                inner = self.graph.before(fuse, cells)
                branches = [
                    self.run(known_layers(branch), have, rows, inner)
                    for branch in layer.branches
                ]
                fused = self.run(fuse, inner, op.Concat(*branches, axis=1), cells)
                rows, have = op.Add(self.some(rows, have, cells), fused), cells
            else:
                if layer.kernel_size != (1, 1):
                    near = self.near(layer, have, cells)
                    zero = op.Pad(rows, self.ints(1, 0, 0, 0))
                    size = layer.in_channels * int(np.prod(layer.kernel_size))
                    rows = op.Reshape(op.Gather(zero, near), self.ints(-1, size))
                    have = cells
                rows = op.Add(op.MatMul(rows, self.matrices[layer]), self.biases[layer])
        return self.some(rows, have, want)

    def as_map(self, rows: Any, cells: int) -> Any:
        """Lay rows out as a map (N, C, H, W), with 0 elsewhere."""
        op, mask = self.op, self.graph.masks[cells]
        channels = op.Shape(rows, start=1, end=2)
        size = op.Concat(op.Reshape(op.Size(mask), self.ints(1)), channels, axis=0)
        places = op.Reshape(self.places(cells), self.ints(-1, 1))
        flat = op.ScatterND(op.ConstantOfShape(size), places, rows)
        shape = op.Shape(mask)
        shape = op.Concat(op.Gather(shape, self.ints(0, 2, 3)), channels, axis=0)
        return op.Transpose(op.Reshape(flat, shape), perm=[0, 3, 1, 2])
