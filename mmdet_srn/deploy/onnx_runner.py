"""Run an exported SRN with NumPy and onnxruntime alone.

This file imports nothing else of its package: a copy beside a model works without
PyTorch, mmdet and mmdet_srn.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

#: Prefix of the names of our metadata; their values are JSON.
PREFIX = 'mmdet_srn.'
#: Version of metadata and outputs that is read here, and written by the export.
FORMAT = 1

_UNREAD = {
    'raw': "gives the network's maps (form raw), not boxes: export it with --form "
    'detections',
    'static': 'is for other runtimes, and images of one size: export it without '
    '--static',
}
_OUTPUTS = ['boxes', 'scores', 'counts']
_OUTPUT_TYPES = ['tensor(float)', 'tensor(float)', 'tensor(int64)']


class OnnxRunner:
    """Finds faces with a file that ``tools/deployment/export_onnx.py`` wrote.

    .. code-block:: python

        runner = OnnxRunner('srn.onnx')
        [(boxes, scores)] = runner([cv2.imread('photo.jpg')], score_thr=0.5)

    Only images of one size form a batch, so none is padded, and its detections do not
    depend on the others. Images are not resized; ``metadata['resize']`` is what the
    config's test pipeline would do. Calls are thread-safe. A pickled runner loads the
    file again.

    Args:
        path: The file, of form ``detections`` or ``boxes`` (then NMS is done here).
        threads: onnxruntime's threads inside an operator. Defaults to None: one for
            each CPU that the process may use.
        providers: Execution providers, as onnxruntime takes them. Defaults to None:
            ``['CPUExecutionProvider']``.

    Attributes:
        metadata: What the file says about itself, see
            :func:`mmdet_srn.deploy.onnx_metadata.make_metadata`. It is data: nothing
            is built or imported by a name in it.
        settings: The part of it that is used here, checked: ``form``, ``score_thr``,
            ``iou_threshold``, ``nms_offset``, ``max_per_img``, ``vote_iou_thr`` (None
            if boxes do not vote) and ``resize``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If onnxruntime is not installed.
        ValueError: If the file is not an ONNX model, not ours or of form ``raw`` or
            ``static``, or a provider is not available.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        providers: Sequence[Any] | None = None,
    ) -> None:
        if not os.path.isfile(path):
            raise FileNotFoundError(f'no exported detector {path}')
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                f'{path} needs onnxruntime: pip install "mmdet_srn[onnx]"'
            ) from error
        providers = ['CPUExecutionProvider'] if providers is None else list(providers)
        usable = onnxruntime.get_available_providers()
        for provider in providers:
            name = provider if isinstance(provider, str) else provider[0]
            if name not in usable:  # onnxruntime would warn and take the CPU
                raise ValueError(
                    f'this onnxruntime has no {name}, only {", ".join(usable)}'
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _usable_cpus() if threads is None else threads
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=providers
            )
        except Exception as error:  # its errors have no base class of their own
            raise ValueError(f'onnxruntime cannot load {path}: {error}') from error
        self._path = os.fspath(path)
        self._arguments = (os.path.abspath(path), threads, providers)
        self.metadata = _read_metadata(path, self._session)
        form = self.metadata.get('form')
        if isinstance(form, str) and form in _UNREAD:
            raise ValueError(f'{path} {_UNREAD[form]}')
        self.settings = _read_settings(path, self.metadata)
        inputs = [(each.name, each.type) for each in self._session.get_inputs()]
        outputs = {each.name: each.type for each in self._session.get_outputs()}
        types = [outputs.get(name) for name in _OUTPUTS]
        if inputs != [('images', 'tensor(uint8)')] or types != _OUTPUT_TYPES:
            raise ValueError(
                f'{path} is no file of export_onnx.py: it takes {inputs} and gives '
                f'{outputs}'
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what loads the file again."""
        return type(self), self._arguments

    def __call__(
        self, images: Sequence[np.ndarray], score_thr: float | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Find the faces of some images.

        Args:
            images: uint8 (H, W, 3) of any sizes, BGR.
            score_thr: Keep faces that score above it. Defaults to None: the file's.

        Returns:
            For each image boxes (K, 4), float32 xyxy in its pixels, and scores (K,),
            float32, best first.

        Raises:
            TypeError: If an image is not an array of uint8.
            ValueError: If an image has another shape or no pixels, or the file drops
                scores that ``score_thr`` asks for.
        """
        exported = self.settings.score_thr
        if score_thr is not None and score_thr < exported:
            raise ValueError(
                f'score_thr={score_thr} asks for scores that the file, exported with '
                f'score_thr={exported}, leaves out'
            )
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            _check_image(place, image)
            by_shape.setdefault(image.shape, []).append(place)
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for places in by_shape.values():
            batch = np.stack([images[place] for place in places])
            try:
                outputs = self._session.run(_OUTPUTS, {'images': batch})
            except Exception as error:  # as above
                raise ValueError(
                    f'onnxruntime cannot run {self._path} on {batch.shape}: {error}'
                ) from error
            for place, boxes, scores, count in zip(places, *outputs, strict=True):
                found[place] = self._finish(boxes[:count], scores[:count], score_thr)
        return [found[place] for place in range(len(images))]

    def _finish(
        self, boxes: np.ndarray, scores: np.ndarray, score_thr: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        settings, voters = self.settings, (boxes, scores)
        if score_thr is not None:
            boxes, scores = boxes[scores > score_thr], scores[scores > score_thr]
        if settings.form == 'boxes':
            keep = suppress(boxes, settings.iou_threshold, settings.nms_offset)
            keep = keep[: settings.max_per_img]
            boxes, scores = boxes[keep], scores[keep]
            if settings.vote_iou_thr is not None:
                boxes = vote(boxes, *voters, settings.vote_iou_thr)
        # copies: a view would keep the padding of the whole batch alive
        return boxes.copy(), scores.copy()


def suppress(boxes: np.ndarray, iou_threshold: float, offset: int = 0) -> np.ndarray:
    """Non-maximum suppression.

    Args:
        boxes: (K, 4), xyxy, best first.
        iou_threshold: Drop a box whose IoU with a better one that is kept exceeds it.
        offset: Added to the sides of boxes. Defaults to 0.

    Returns:
        Indices of the boxes that are kept, best first.
    """
    low, high = boxes[:, :2], boxes[:, 2:] + np.float32(offset)
    areas = (high - low).prod(axis=1)
    left = np.arange(len(boxes))
    keep = []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        sides = np.minimum(high[best], high[left]) - np.maximum(low[best], low[left])
        overlaps = sides.clip(min=0).prod(axis=1)
        ious = overlaps / (areas[best] + areas[left] - overlaps)
        left = left[ious <= np.float32(iou_threshold)]
    return np.array(keep, dtype=np.intp)


def vote(
    kept: np.ndarray, boxes: np.ndarray, scores: np.ndarray, iou_thr: float
) -> np.ndarray:
    """Replace boxes (M, 4) by means of those (K, 4) that overlap them by ``iou_thr``.

    Weighted with the scores (K, ), none of them negative. One that nothing overlaps
    stays.
    """
    voted = kept.copy()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for box in voted:
        low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
        overlaps = (high - low).clip(min=0).prod(axis=1)
        unions = (box[2:] - box[:2]).prod() + areas - overlaps
        agree = (overlaps > 0) & (overlaps >= np.float32(iou_thr) * unions)
        weights = scores * agree
        if weights.any():
            box[:] = weights @ boxes / weights.sum()
    return voted


def _read_metadata(path: Any, session: Any) -> dict[str, Any]:
    try:
        stored = session.get_modelmeta().custom_metadata_map
        ours = {
            name.removeprefix(PREFIX): json.loads(value)
            for name, value in stored.items()
            if name.startswith(PREFIX)
        }
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: its metadata is damaged ({error})') from error
    if 'format' not in ours:
        raise ValueError(
            f'{path} does not say how to use it: it is no file of export_onnx.py'
        )
    if ours['format'] != FORMAT:
        raise ValueError(
            f'{path} has format {ours["format"]}, written by mmdet_srn '
            f'{ours.get("version")}; this one reads format {FORMAT}'
        )
    return ours


def _read_settings(path: Any, metadata: dict[str, Any]) -> SimpleNamespace:
    for name, is_right in _CHECKS.items():
        value = metadata.get(name)
        if not is_right(value):
            found = f'is {value!r:.60}' if name in metadata else 'is missing'
            raise ValueError(
                f'{path}: {name} {found} in its metadata. It is damaged, or no file of '
                'tools/deployment/export_onnx.py'
            )
    return SimpleNamespace(**{name: metadata.get(name) for name in _CHECKS})


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    'form': lambda value: value in ('boxes', 'detections'),
    'score_thr': lambda value: _is_number(value) and value <= 1,
    'iou_threshold': lambda value: _is_number(value) and 0 <= value <= 1,
    'nms_offset': _is_number,
    'max_per_img': lambda value: isinstance(value, int) and value is not True,
    # older files lack it
    'vote_iou_thr': lambda value: (
        value is None or (_is_number(value) and 0 < value <= 1)
    ),
    'resize': lambda value: (
        isinstance(value, list) and all(isinstance(step, dict) for step in value)
    ),
}


def _check_image(place: int, image: Any) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f'images[{place}] must be an array of uint8, not {kind}')
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f'images[{place}] must have the shape (H, W, 3), not {image.shape}'
        )


def _usable_cpus() -> int:
    # onnxruntime counts those that the process may not use as well
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
