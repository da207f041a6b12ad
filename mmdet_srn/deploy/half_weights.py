"""An ONNX model with its weights in float16."""

from typing import Any

import numpy as np

LEAST = 64
"""Elements of a constant from which it is stored in float16."""


def store_in_half(model: Any) -> Any:
    """Round a model's large float32 constants to float16.

    onnxruntime widens them and multiplies batch norms into them as it loads, so the
    model is computed in float32 and as fast as with folded weights. Folding before
    would round once more, to other weights than a checkpoint in float16 has.

    Args:
        model: An ``onnx.ModelProto`` as torch exports it with ``optimize=False``;
            changed. What float16 cannot hold stays as it is.

    Returns:
        The optimized model.
    """
    from onnx import TensorProto, helper, numpy_helper
    from onnxscript import optimizer

    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over='ignore'):
            half = values.astype(np.float16)
        if values.size < LEAST or not np.isfinite(half).all():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f'{name}.half'))
        casts.append(
            helper.make_node('Cast', [tensor.name], [name], to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    # What torch's exporter would do, but for these weights. A convolution's bias is an
    # expression until then, and onnxruntime would leave the norm behind it alone.
    return optimizer.optimize(model, input_size_limit=LEAST - 1)
