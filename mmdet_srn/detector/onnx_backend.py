"""An exported detector, run by onnxruntime; needs neither PyTorch nor mmdet."""

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..deploy.onnx_runner import OnnxRunner
from .images import read_image, report_as_image_error, rescale_boxes

INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


class OnnxBackend:
    """Runs an exported detector on images, after the ``Resize`` of its config.

    For ``max_faces`` and ``threads`` see ``FaceDetector``.

    Args:
        path: The ``.onnx`` file; see ``tools/deployment/export_onnx.py``.
        device: 'cpu', 'cuda' (or 'gpu'), 'cuda:1', or anything else for which
            onnxruntime has an execution provider; None: a GPU if onnxruntime has one.
    """

    has_multi_scale = False

    def __init__(
        self,
        path: str | PathLike[str],
        device: str | None = None,
        max_faces: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.name = str(path)
        self._runner = OnnxRunner(path, threads, [find_provider(device)])
        settings = self._runner.settings
        self.iou_threshold: float = settings.iou_threshold
        # The file holds the network; what its config does before is in the metadata.
        self._steps = [read_resize(path, step) for step in settings.resize]
        self._max_faces = exported = settings.max_per_img
        if max_faces is not None and max_faces > exported:
            raise ValueError(
                f'max_faces={max_faces}: {path} gives {exported} faces at most; export '
                f'it with --cfg-options model.test_cfg.max_per_img={max_faces}'
            )

    def max_faces(self, multi_scale: bool = False) -> int | None:
        """Return how many faces the file gives at most."""
        return self._max_faces

    def read(self, source: Path | bytes) -> np.ndarray:
        """Read an image file, or its content."""
        return read_image(source)

    def __call__(
        self, images: Sequence[np.ndarray], multi_scale: bool = False
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Detect on images of one size, as one batch.

        Args:
            images: uint8 (H, W, 3), BGR.
            multi_scale: Must be False.

        Returns:
            For each image boxes (N, 4), xyxy in its pixels, and scores (N,).
        """
        assert not multi_scale
        resized = list(images)
        for step in self._steps:
            with report_as_image_error(images[0]):
                resized = [resize(image, **step) for image in resized]
        return [
            (rescale_boxes(bboxes, small.shape, image.shape), scores)
            for image, small, (bboxes, scores) in zip(
                images, resized, self._runner(resized), strict=True
            )
        ]


def find_provider(device: str | None) -> str | tuple[str, dict[str, int]]:
    """Return onnxruntime's execution provider for a device."""
    try:
        from onnxruntime import get_available_providers
    except ImportError:  # the runner says what to install
        return 'CPUExecutionProvider'
    usable = get_available_providers()
    if device is None:
        device = 'cuda' if 'CUDAExecutionProvider' in usable else 'cpu'
    match = re.fullmatch(r'(\w+?)(?::(\d+))?', str(device))
    if match is None:
        raise ValueError(f"device {device!r} is not of the form 'cpu' or 'cuda:0'")
    kind = 'cuda' if match[1] == 'gpu' else match[1]
    names = {name.lower(): name for name in usable}
    wanted = f'{kind}ExecutionProvider'.lower()
    name = names.get(wanted, f'{kind.upper()}ExecutionProvider')
    if match[2] is None or name == 'CPUExecutionProvider':
        return name
    return name, {'device_id': int(match[2])}


def resize(
    image: np.ndarray,
    scale: tuple[int, int] | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    keep_ratio: bool = False,
    clip_object_border: bool = True,
    backend: str = 'cv2',
    interpolation: str = 'bilinear',
) -> np.ndarray:
    """Resize an image as mmdet's ``Resize`` does, to the bit.

    Args:
        image: uint8 (H, W, 3).
        scale: Width and height; with ``keep_ratio`` the box to fit into, in either
            orientation.
        scale_factor: Of width and height, used where there is no ``scale``.
        keep_ratio: Whether to keep the aspect ratio. Defaults to False.
        clip_object_border: Not used; it concerns annotations.
        backend: 'cv2' or 'pillow'. Defaults to 'cv2'.
        interpolation: Of :data:`INTERPOLATIONS`. Defaults to 'bilinear'.
    """
    height, width = image.shape[:2]
    if scale is None:
        factors = (
            scale_factor if isinstance(scale_factor, tuple) else [scale_factor] * 2
        )
        scale = (int(width * factors[0] + 0.5), int(height * factors[1] + 0.5))
    if keep_ratio:
        long, short = max(scale), min(scale)
        factor = min(long / max(height, width), short / min(height, width))
        scale = (int(width * factor + 0.5), int(height * factor + 0.5))
    if backend == 'pillow':
        method = Image.Resampling[interpolation.upper()]
        return np.array(Image.fromarray(image).resize(scale, method))
    return cv2.resize(image, scale, interpolation=INTERPOLATIONS[interpolation])


def _is_pair(value: Any, kinds: type | UnionType) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(v, kinds) and 0 < v < 1e6 for v in value)
    )


# A file may hold anything: only these arguments, with such values, are accepted.
_ARGUMENTS: dict[str, Callable[[Any], bool]] = {
    'scale': lambda v: v is None or _is_pair(v, int),
    'scale_factor': lambda v: (
        v is None or _is_pair((v, v), int | float) or _is_pair(v, int | float)
    ),
    'keep_ratio': lambda v: isinstance(v, bool),
    'clip_object_border': lambda v: isinstance(v, bool),
    'backend': lambda v: v in ('cv2', 'pillow'),
    'interpolation': lambda v: isinstance(v, str) and v in INTERPOLATIONS,
}


def read_resize(path: str | PathLike[str], step: Mapping[str, Any]) -> dict[str, Any]:
    """Check a step of a file's metadata; return the arguments of :func:`resize`."""
    # JSON makes lists of tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in step.items()}
    kind = values.pop('type', None)
    wrong = [
        f'{name}={value!r:.60}'
        for name, value in values.items()
        if name not in _ARGUMENTS or not _ARGUMENTS[name](value)
    ]
    if kind not in ('Resize', 'mmdet.Resize') or wrong:
        what = f'a step {kind!r:.60}' + (f' with {wrong[0]}' if wrong else '')
        raise ValueError(
            f'{path} asks for {what}: before the network only Resize is run, with '
            f'{", ".join(_ARGUMENTS)}'
        )
    if values.get('scale') is None and values.get('scale_factor') is None:
        raise ValueError(f'{path} asks for a Resize without scale and scale_factor')
    if (values.get('backend'), values.get('interpolation')) == ('pillow', 'area'):
        raise ValueError(f'{path} asks for interpolation=area, which Pillow lacks')
    return values
