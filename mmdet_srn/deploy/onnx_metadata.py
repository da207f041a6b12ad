"""Metadata of an exported file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from ..evaluation.protocols import UNKNOWN_PROTOCOL
from ..model_loader import find_test_pipeline
from ..version import __version__
from .onnx_runner import FORMAT
from .srn_graph import SRNGraph


def make_metadata(
    graph: SRNGraph,
    cfg: Config,
    classes: Sequence[str] = ('face',),
    checkpoint: str | None = None,
) -> dict[str, Any]:
    """Collect what a user of the file has to know, as plain data for JSON.

    - ``format``: version of what follows; ``version``: of mmdet_srn.
    - ``form``: 'raw', 'boxes' or 'detections', see ``SRNGraph``, or 'static'.
    - ``classes``: their names; ``config``, ``checkpoint``: names of the files.
    - ``input``: ``dtype``, ``layout``, ``channel_order`` of ``images``, and
      ``size``, batch, height and width, where they are fixed. The graph applies
      ``network_channel_order``, ``mean``, ``std`` (in that order; None: not
      normalised), ``pad_size_divisor``, ``pad_value``.
    - ``protocol``, ``resize``: name of the config's test protocol, and the ``Resize``
      steps of its test pipeline, which are not inside the graph.
    - To decode the maps of form 'raw': ``strides`` (w, h), ``base_anchors`` (xyxy of
      the cell at the origin) of each level, ``stc_levels``, ``str_levels``, ``theta``,
      ``delta_means``, ``delta_stds``; ``iou_alpha`` where ``bbox_pred`` has an IoU
      behind each anchor's deltas (see ``SRNIoUHead``).
    - ``test_cfg``: the head's. For all but 'raw' also ``score_thr``, above
      which every score is kept, ``iou_threshold``, ``nms_offset``, ``max_per_img``
      and, if boxes vote, ``vote_iou_thr``.
    """
    preprocessor, head = graph.detector.data_preprocessor, graph.detector.bbox_head
    normalised = preprocessor._enable_normalize
    priors = head.prior_generator
    metadata = dict(
        format=FORMAT,
        version=__version__,
        form=graph.form,
        classes=list(classes),
        config=Path(cfg.filename).name if cfg.filename else None,
        checkpoint=Path(checkpoint).name if checkpoint else None,
        input=graph.input_format,
        network_channel_order='RGB' if preprocessor._channel_conversion else 'BGR',
        mean=_short(preprocessor.mean) if normalised else None,
        std=_short(preprocessor.std) if normalised else None,
        pad_size_divisor=preprocessor.pad_size_divisor,
        pad_value=preprocessor.pad_value,
        protocol=_protocol(cfg),
        resize=_resize_steps(cfg),
        strides=[list(stride) for stride in priors.strides],
        base_anchors=[anchors.tolist() for anchors in priors.base_anchors],
        stc_levels=list(head.stc_levels),
        str_levels=list(head.str_levels),
        theta=head.theta,
        delta_means=list(head.bbox_coder.means),
        delta_stds=list(head.bbox_coder.stds),
        test_cfg=_plain(head.test_cfg),
    )
    alpha = head.selection(head.test_cfg).iou_alpha
    if alpha is not None:
        metadata['iou_alpha'] = alpha
    selection = graph.selection
    if selection is not None:
        thresholds = [selection.score_thr]
        if selection.small_map_cells > 0:
            thresholds.append(selection.small_map_score_thr)
        metadata.update(
            score_thr=max(thresholds),
            iou_threshold=graph.nms.iou_threshold,
            nms_offset=graph.nms.offset,
            max_per_img=graph.nms.max_per_img,
        )
        if graph.nms.vote_iou_thr is not None:
            metadata['vote_iou_thr'] = graph.nms.vote_iou_thr
    return metadata


def _short(values: Tensor) -> list[float]:
    """Write float32 as the shortest decimals: 123.675, not 123.675003."""
    return [float(str(value)) for value in values.flatten().numpy()]


def _protocol(cfg: Config) -> str:
    evaluators = cfg.get('test_evaluator') or []
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    named = [each['protocol'] for each in evaluators if 'protocol' in each]
    return named[0] if named else UNKNOWN_PROTOCOL


def _resize_steps(cfg: Config) -> list[dict[str, Any]]:
    steps = find_test_pipeline(cfg) if cfg.get('test_dataloader') else []
    return [_plain(step) for step in steps if 'Resize' in str(step['type'])]


def _plain(value: Any) -> Any:
    """Turn tuples into lists, and what JSON does not know, as classes, into names."""
    text = json.dumps(value, default=lambda each: getattr(each, '__name__', str(each)))
    return json.loads(text)
