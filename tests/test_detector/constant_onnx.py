"""An exported file whose network says the same of every image."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_srn.deploy.onnx_runner import PREFIX

SETTINGS = dict(
    format=1,
    form='detections',
    score_thr=0.0,
    iou_threshold=0.4,
    nms_offset=0,
    max_per_img=10,
    resize=[],
)


GRAPH = """
    g (uint8[n, h, w, 3] images)
    => (float[n, k, 4] boxes, float[n, k] scores, int64[n] counts) {
        boxes = Constant <value = float[1, 1, 4] {0, 0, 1, 1}> ()
        scores = Constant <value = float[1, 1] {1}> ()
        counts = Constant <value = int64[1] {1}> ()
    }"""


def write_onnx(
    path: Path, graph: str = GRAPH, metadata: Mapping[str, Any] = SETTINGS
) -> Path:
    """Write it with these values as JSON, bytes as they are; names have no prefix."""
    import onnx  # of the extra onnx

    model = onnx.helper.make_model(
        onnx.parser.parse_graph(graph),
        opset_imports=[onnx.helper.make_opsetid('', 18)],
        ir_version=9,
    )
    texts = {
        PREFIX + name: value.decode(errors='replace')
        if isinstance(value, bytes)
        else json.dumps(value)
        for name, value in metadata.items()
    }
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, path)
    return path
