"""An exported detector, run by onnxruntime."""

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from mmdet.datasets.transforms import Resize
from mmengine.dataset import Compose

from mmdet_srn.deploy.onnx_runner import OnnxRunner

from .images import read_image, run_pipeline, take_back


class OnnxBackend:
    """Runs an exported detector on images, after the ``Resize`` of its config.

    Args:
        path: The ``.onnx`` file; see ``tools/export_onnx.py``.
        device: 'cpu', 'cuda' (or 'gpu'), 'cuda:1', or what else onnxruntime has an
            execution provider for; None: a GPU if onnxruntime has one.
        max_faces: How many faces the file must be able to give. Defaults to None: any.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If onnxruntime is not installed.
        ValueError: If onnxruntime cannot use the file or the device, the file asks for
            other steps than ``Resize``, or it gives fewer than ``max_faces``.
    """

    has_multi_scale = False

    def __init__(
        self,
        path: str | PathLike[str],
        device: str | None = None,
        max_faces: int | None = None,
    ) -> None:
        self.name = str(path)
        self._runner = OnnxRunner(path, providers=[_provider(device)])
        # The file holds the network; what its config does before is in the metadata.
        self._resize = Compose(
            [_resize(path, step) for step in self._runner.settings.resize]
        )

        exported = self._runner.settings.max_per_img
        if max_faces is not None and max_faces > exported:
            raise ValueError(
                f'max_faces={max_faces}: {path} gives {exported} faces at most; export '
                f'it with --cfg-options model.test_cfg.max_per_img={max_faces}'
            )
        self._max_faces = exported

    def max_faces(self, multi_scale: bool = False) -> int | None:
        """How many faces an image may have; None if the file does not say."""
        return self._max_faces

    def read(self, path: Path) -> np.ndarray:
        """Reads an image file."""
        return read_image(path)

    def __call__(
        self, images: Sequence[np.ndarray], multi_scale: bool = False
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Detects on images of one size, as one batch.

        Args:
            images: Uint8 (H, W, 3), BGR.
            multi_scale: Must be False.

        Returns:
            For each image boxes (N, 4), xyxy in its pixels, and scores (N,).

        Raises:
            ImageError: If the resizing cannot take an image of that size.
        """
        assert not multi_scale
        resized = [run_pipeline(self._resize, dict(img=i))['img'] for i in images]
        return [
            (take_back(bboxes, small.shape, image.shape), scores)
            for image, small, (bboxes, scores) in zip(
                images, resized, self._runner(resized), strict=True
            )
        ]


def _provider(device: str | None) -> str | tuple[str, dict[str, int]]:
    """The execution provider for a device."""
    try:
        from onnxruntime import get_available_providers
    except ImportError:  # the runner says what to install
        return 'CPUExecutionProvider'
    usable = get_available_providers()
    if device is None:
        device = 'cuda' if 'CUDAExecutionProvider' in usable else 'cpu'
    match = re.fullmatch(r'(\w+?)(?::(\d+))?', str(device))
    if match is None:
        raise ValueError(f"device {device!r} is none such as 'cpu', 'cuda' or 'cuda:0'")
    kind = 'cuda' if match[1] == 'gpu' else match[1]
    wanted = f'{kind}ExecutionProvider'
    names = {name.lower(): name for name in usable}
    name = names.get(wanted.lower(), f'{kind.upper()}ExecutionProvider')
    if match[2] is None or name == 'CPUExecutionProvider':
        return name
    return name, {'device_id': int(match[2])}


def _is_pair(value: Any, kinds: type | UnionType) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(v, kinds) and 0 < v < 1e6 for v in value)
    )


# What Resize takes; the values are those of a config, as a file may hold anything.
_ARGUMENTS: dict[str, Callable[[Any], bool]] = {
    'scale': lambda v: v is None or _is_pair(v, int),
    'scale_factor': lambda v: (
        v is None or _is_pair((v, v), int | float) or _is_pair(v, int | float)
    ),
    'keep_ratio': lambda v: isinstance(v, bool),
    'clip_object_border': lambda v: isinstance(v, bool),
    'backend': lambda v: v in ('cv2', 'pillow'),
    'interpolation': lambda v: (
        v in ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')
    ),
}


def _resize(path: str | PathLike[str], step: Mapping[str, Any]) -> Resize:
    """The step of a file's metadata. It is data from anywhere: no name is looked up."""
    # JSON makes lists of tuples
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in step.items()}
    kind = values.pop('type', None)
    wrong = [f'{k}={v!r:.60}' for k, v in values.items() if not _is_argument(k, v)]
    if kind not in ('Resize', 'mmdet.Resize') or wrong:
        what = f'a step {kind!r:.60}' + (f' with {wrong[0]}' if wrong else '')
        raise ValueError(
            f'{path} asks for {what}: before the network only Resize is run, with '
            f'{", ".join(_ARGUMENTS)}'
        )
    if values.get('scale') is None and values.get('scale_factor') is None:
        raise ValueError(f'{path} asks for a Resize without scale and scale_factor')
    return Resize(**values)


def _is_argument(name: str, value: Any) -> bool:
    return name in _ARGUMENTS and _ARGUMENTS[name](value)
