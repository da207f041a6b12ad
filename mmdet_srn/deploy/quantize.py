"""An exported detector that computes in eight bits."""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..engine.atomic_backend import AtomicLocalBackend
from .onnx_runner import PREFIX, OnnxRunner

OPERATORS = ('Conv', 'Relu', 'Clip', 'Add', 'Concat', 'Resize')
"""What is computed in eight bits where a convolution comes after it."""

CHANNELS = 3
"""Channels of an image, by which the convolutions that read it are known."""


def quantize_onnx(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: Iterable[np.ndarray],
    keep_float: Sequence[str] = (),
) -> tuple[int, int]:
    """Write a detector whose convolutions compute in eight bits, whole or not at all.

    onnxruntime's static quantization: weights as int8, one scale for each output
    channel, maps as uint8 between the least and the largest value that was seen on
    ``images``. In float32 stay the convolutions that read the image, the last ones,
    which predict, decoding and NMS. Inputs, outputs and metadata are the same.

    Args:
        source: A file of :func:`.export_onnx`, of form 'detections' or 'boxes', with
            ``second_step='dense'``.
        path: The file to write.
        images: Such as the detector will see: uint8 (H, W, 3), BGR. They must be after
            the ``resize`` of the file's metadata.
        keep_float: Patterns, as of file names, of the weights of more convolutions that
            stay in float32. Defaults to none.

    Returns:
        Number of convolutions in eight bits, and of all.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If onnx or onnxruntime is missing.
        ValueError: If the file is none of ours or not dense, there is no image, or a
            pattern fits no convolution.
    """
    OnnxRunner(source)  # says what is wrong with the file
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise ImportError(
            f'it needs onnx: pip install "mmdet_srn[export]" ({error})'
        ) from error
    kinds = {node.op_type for node in onnx.load(source).graph.node}
    if kinds & {'If', 'NonZero'}:  # 'auto' and 'sparse'
        raise ValueError(
            f'{source} chooses where it computes the second step, which eight bits do '
            'not: export it with --cfg-options model.test_cfg.second_step=dense'
        )
    with TemporaryDirectory(prefix='mmdet_srn_int8_') as folder:
        prepared, quantized = Path(folder, 'prepared.onnx'), Path(folder, 'int8.onnx')
        # folds the norms into the convolutions
        quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        for number, node in enumerate(model.graph.node):
            node.name = f'{number}'  # by which they are chosen
        onnx.save(model, prepared)
        chosen = choose_nodes(model.graph, keep_float)
        quantization.quantize_static(
            prepared,
            quantized,
            make_reader(images),
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        result = onnx.load(quantized)
    ours = [each for each in model.metadata_props if each.key.startswith(PREFIX)]
    onnx.helper.set_model_props(result, {each.key: each.value for each in ours})
    AtomicLocalBackend().put(result.SerializeToString(), path)
    is_conv = [node.op_type == 'Conv' for node in chosen]
    return sum(is_conv), sum(node.op_type == 'Conv' for node in model.graph.node)


def choose_nodes(graph: Any, keep_float: Sequence[str] = ()) -> list[Any]:
    """Choose the nodes of an ``onnx.GraphProto`` to compute in eight bits.

    Raises:
        ValueError: If a pattern fits no convolution.
    """
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    convs = [node for node in graph.node if node.op_type == 'Conv']
    in_float = {
        node.output[0] for node in convs if shapes[node.input[1]][1] == CHANNELS
    }
    for pattern in keep_float:
        fit = {node.output[0] for node in convs if fnmatch(node.input[1], pattern)}
        if not fit:
            raise ValueError(f'no convolution has weights of a name like {pattern!r}')
        in_float |= fit
    makers = {name: node for node in graph.node for name in node.output}
    before = set()  # convolutions: the last are none
    names = [name for node in convs for name in node.input]
    while names:
        node = makers.get(names.pop())
        if node is not None and node.output[0] not in before:
            before.add(node.output[0])
            names += node.input
    return [
        node
        for node in graph.node
        if node.op_type in OPERATORS and node.output[0] in before - in_float
    ]


def make_reader(images: Iterable[np.ndarray]) -> Any:
    """Give images as onnxruntime's quantization reads them, one by one."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {'images': image[None]}

    return Reader()
