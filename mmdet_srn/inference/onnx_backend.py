"""An exported detector, run by onnxruntime."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmdet_srn.deploy.onnx_runner import OnnxRunner

from .images import read_image, run_pipeline, take_back


class OnnxBackend:
    """Runs an exported detector on images, after the ``Resize`` of its config.

    Args:
        path: The ``.onnx`` file; see ``tools/export_onnx.py``.
        device: 'cpu', 'cuda' or what else onnxruntime has an execution provider for;
            None: the CPU.
        max_faces: How many faces the file must be able to give. Defaults to None: any.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If onnxruntime is not installed.
        ValueError: If onnxruntime cannot use the file or the device, or the file gives
            fewer than ``max_faces``.
    """

    has_multi_scale = False

    def __init__(
        self,
        path: str | PathLike[str],
        device: str | None = None,
        max_faces: int | None = None,
    ) -> None:
        self.name = str(path)
        provider = f'{(device or "cpu").upper()}ExecutionProvider'
        self._runner = OnnxRunner(path, providers=[provider])
        # The file holds the network; what its config does before is in the metadata.
        steps = self._runner.metadata['resize']
        self._resize = Compose([TRANSFORMS.build(_with_tuples(step)) for step in steps])

        exported = self._runner.metadata.get('max_per_img')
        if None not in (max_faces, exported) and max_faces > exported:
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


def _with_tuples(step: dict[str, Any]) -> dict[str, Any]:
    """A transform's config as it was before JSON made lists of its tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in step.items()
    }
