"""From a config and its checkpoint to an ONNX file."""

import importlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..engine.atomic_backend import AtomicLocalBackend
from ..model_loader import load_detector
from ..version import __version__
from .onnx_conversions import bring_to_opset, compute_in_half
from .onnx_metadata import make_metadata
from .onnx_runner import PREFIX
from .srn_graph import SRNGraph
from .static_graph import StaticGraph

OPSET = 18
"""Version of ONNX's operators: the one that torch's exporter is written in."""


def export_onnx(
    config: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    form: str = 'detections',
    cfg_options: Mapping[str, Any] | None = None,
    half_weights: bool = False,
    size: tuple[int, int, int] | None = None,
    opset: int = OPSET,
    half: bool = False,
) -> dict[str, Any]:
    """Write a trained SRN as an ONNX file, whole or not at all.

    Batch, height and width are dynamic, or fixed by ``size``. See ``SRNGraph`` and, for
    a fixed size, ``StaticGraph`` for input and outputs.

    Args:
        config: The config.
        checkpoint: Its weights, all of which must fit.
        path: The file to write.
        form: 'raw', 'boxes' or 'detections'; not read if there is a ``size``.
        cfg_options: Settings of the config to replace, such as
            ``{'model.test_cfg.score_thr': 0.05}``.
        half_weights: Store the weights in float16, for half the size; they are
            rounded, and still computed with in float32. Defaults to False.
        size: Batch, height and width. Defaults to None: dynamic.
        opset: Version of ONNX's operators. Other than the default needs a ``size``.
        half: Compute the network in float16, see :func:`compute_in_half`. Needs a
            ``size``.

    Returns:
        The file's metadata, see ``make_metadata``.

    Raises:
        ImportError: If onnx or onnxscript is missing.
        OSError: If a file cannot be read or written.
        ValueError: If config and checkpoint do not fit, or the detector cannot be
            exported, or not so.
    """
    if size is None and (half or opset != OPSET):
        raise ValueError('half and another opset need a fixed size')
    for name in ('onnx', 'onnxscript'):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f'the export needs {name}: pip install "mmdet_srn[export]" ({error})'
            ) from error
    cfg, detector, classes = load_detector(config, checkpoint, cfg_options)
    graph = StaticGraph(detector, size) if size else SRNGraph(detector, form)
    metadata = make_metadata(graph, cfg, classes, os.fspath(checkpoint))
    save_onnx(graph, metadata, path, half_weights, opset, half)
    return metadata


def save_onnx(
    graph: SRNGraph,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    half_weights: bool = False,
    opset: int = OPSET,
    half: bool = False,
) -> None:
    """Export a graph, check the result and write it; see :func:`export_onnx`.

    The metadata, plain data, are stored as JSON under names with a prefix.

    Raises:
        ValueError: If the graph cannot be brought to ``opset``.
    """
    import onnx

    from .half_weights import store_in_half
    from .nms_op import nms_translation
    from .second_step_op import second_step_translation

    axes, table = graph.dynamic_axes, nms_translation(OPSET)
    if graph.second_steps is not None:
        table.update(second_step_translation(OPSET, graph.second_steps))
    with torch.no_grad(), _quiet_exporter():
        program = torch.export.export(
            graph,
            (graph.example,),
            dynamic_shapes=({axis: torch.export.Dim.DYNAMIC for axis in axes},),
            strict=False,
        )
        model = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=['images'],
            output_names=graph.output_names,
            dynamic_shapes=(axes,),
            custom_translation_table=table,
            # It would multiply the norms into the weights, which are rounded then.
            optimize=half or not half_weights,
        ).model_proto
    if half_weights and not half:
        model = store_in_half(model)
    _tidy(model, graph.form)
    if opset != OPSET:
        model = bring_to_opset(model, opset)
    if half:
        model = compute_in_half(model)
    properties = {PREFIX + name: json.dumps(each) for name, each in metadata.items()}
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    AtomicLocalBackend().put(model.SerializeToString(), path)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence warnings for torch's authors and about torchvision, which is not used."""
    logger = logging.getLogger('torch.onnx._internal.exporter._registration')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', r'.*LeafSpec', FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _tidy(model: Any, form: str) -> None:
    """Remove what only the exporter's authors need, and name the axes."""
    graph = model.graph
    model.producer_name, model.producer_version = 'mmdet_srn', __version__
    del graph.value_info[:]  # shapes of inner values, inferred again
    # Stack traces with paths of this machine
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ''
    if form not in ('boxes', 'detections'):
        return
    for output in graph.output[:2]:
        output.type.tensor_type.shape.dim[1].dim_param = form
