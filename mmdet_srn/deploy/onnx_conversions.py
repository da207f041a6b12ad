"""Exported models in another version of ONNX's operators, or in float16."""

from typing import Any


def bring_to_opset(model: Any, opset: int) -> Any:
    """Return a model in another version of ONNX's operators, by ONNX's own converter.

    Raises:
        ValueError: If it cannot.
    """
    from onnx import version_converter

    present = model.opset_import[0].version
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:  # the first from C++
        raise ValueError(
            f'ONNX cannot bring the file from opset {present} to {opset}: {error}'
        ) from error


def compute_in_half(model: Any) -> Any:
    """Return a model that computes its network in float16, by onnxruntime's converter.

    Inputs and outputs stay float32, as does what follows the last convolutions: boxes
    in float16 would have steps of half a pixel beyond 512 pixels.
    """
    from onnxruntime.transformers.onnx_model import OnnxModel

    read = set()  # by a convolution, sooner or later
    behind = []
    for node in reversed(model.graph.node):  # sorted: what is read was made before
        if node.op_type == 'Conv' or read.intersection(node.output):
            read.update(node.input)
        else:
            behind.append(node.name)
    converted = OnnxModel(model)
    converted.convert_float_to_float16(keep_io_types=True, node_block_list=behind)
    converted.topological_sort()
    return converted.model
