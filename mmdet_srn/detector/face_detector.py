"""FaceDetector: images in, faces out."""

import io
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np

from .._stack import use_mmdet
from ..weights import config_file, weights_file
from .images import ChannelOrder, as_bgr, limit_size, rescale_boxes
from .onnx_backend import OnnxBackend

if TYPE_CHECKING:
    from mmengine.config import Config

    from .mmdet_backend import MMDetBackend

    Backend: TypeAlias = MMDetBackend | OnnxBackend

ImageInput: TypeAlias = np.ndarray | str | PathLike[str]
_Image = TypeVar('_Image', bound=ImageInput)


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces of one image, best first.

    Attributes:
        bboxes: float32 (N, 4): x1, y1, x2, y2 in pixels of the image as given (of a
            file: with its EXIF orientation applied), clipped to it unless the detector
            has ``clip=False``.
        scores: float32 (N,), from 0 to 1.
        width: Width of that image in pixels.
        height: Height of that image in pixels.
        path: The file, or None if an array was given.
        limit_reached: Whether there are ``max_faces`` of them: the image may have more.
    """

    bboxes: np.ndarray
    scores: np.ndarray
    width: int
    height: int
    path: Path | None = None
    limit_reached: bool = False

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.scores)


class FaceDetector:
    """Finds faces: with the model that is shipped, a trained config, or an ONNX file.

    .. code-block:: python

        detector = FaceDetector()  # or ('config.py', 'epoch_3.pth'), or ('model.onnx')
        faces = detector.detect('photo.jpg')
        faces.bboxes, faces.scores  # (N, 4) xyxy in pixels, (N,); best first

    The shipped model (``mmdet_srn/weights``) is run by mmdet where that is installed,
    else, or with MMDET_SRN_LIGHT=1, by onnxruntime, with the same faces.

    It runs the config's own test pipeline, including its ``Resize``, and its model in
    evaluation mode. Its methods are not thread-safe. In a process forked from that of a
    detector, PyTorch computes in one thread on a CPU, and not on a GPU: start processes
    with multiprocessing's 'spawn', and make the detector in each.

    Args:
        config: Config or its file; or an exported ``.onnx`` file, alone. Defaults to
            None: the shipped model.
        checkpoint: File of the weights, all of which must fit the config; or an
            exported ``.onnx`` file, alone. Both are safe to load: a file that could run
            code is refused. Defaults to None, only without a config.
        device: Where to run, such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if
            there is one.
        score_thr: Drop faces with a lower score; None: only those that the config or
            the exported file drops. Defaults to 0.5 (our choice).
        max_faces: Largest number of faces of an image, the best; a warning tells where
            it is reached. Defaults to None: as the config (SRN: 750) or the exported
            file has it. An exported file cannot give more than that.
        clip: Clip boxes at the image's edges and drop those with less than a pixel left
            in width or height, so that no crop is empty. Defaults to True.
        threads: Number of threads of onnxruntime. Defaults to None: one for each CPU
            that the process may use.

    Raises:
        FileNotFoundError: If a file is missing.
        ImportError: If onnxruntime or the OpenMMLab stack is needed and missing.
        ValueError: If config and checkpoint do not fit, or an argument is invalid.
    """

    def __init__(
        self,
        config: 'str | PathLike[str] | Config | None' = None,
        checkpoint: str | PathLike[str] | None = None,
        *,
        device: str | None = None,
        score_thr: float | None = 0.5,
        max_faces: int | None = None,
        clip: bool = True,
        threads: int | None = None,
    ) -> None:
        if score_thr is not None and not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must be from 0 to 1, not {score_thr}')
        if max_faces is not None and operator.index(max_faces) < 1:
            raise ValueError(f'max_faces must be 1 or more, not {max_faces}')
        self.score_thr = score_thr
        self.max_faces = max_faces
        self.clip = clip
        if config is None and checkpoint is None:
            if use_mmdet():
                config, checkpoint = config_file(), weights_file('.pth')
            else:
                checkpoint = weights_file('.onnx')
        given = [source for source in (config, checkpoint) if source is not None]
        exported = [source for source in given if _is_onnx(source)]
        if exported and len(given) == 1:
            self._backend: Backend = OnnxBackend(
                exported[0], device, max_faces, threads
            )
        elif config is None or checkpoint is None or exported:
            raise ValueError(
                'FaceDetector takes a config and a checkpoint, an .onnx file alone, or '
                f'nothing; got config {config!r}, checkpoint {checkpoint!r}'
            )
        else:
            from .. import register

            register()
            from .mmdet_backend import MMDetBackend

            self._backend = MMDetBackend(config, checkpoint, device, max_faces)

    @property
    def has_multi_scale(self) -> bool:
        """Whether ``detect`` can be asked for the multi-scale test."""
        return self._backend.has_multi_scale

    @overload
    def detect(self, images: ImageInput, **options: Any) -> FaceDetections: ...

    @overload
    def detect(
        self, images: list[_Image] | tuple[_Image, ...], **options: Any
    ) -> list[FaceDetections]: ...

    @overload
    def detect(
        self, images: Iterator[ImageInput], **options: Any
    ) -> Iterator[FaceDetections]: ...

    def detect(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int = 1,
        max_size: int | None = None,
        multi_scale: bool = False,
        channel_order: ChannelOrder = 'bgr',
    ) -> FaceDetections | list[FaceDetections] | Iterator[FaceDetections]:
        """Find the faces of one image or of many.

        An image is a file, or an array (H, W, 3) of uint8 in OpenCV's channel order,
        BGR. Files are read with their EXIF orientation applied. Grey images, RGBA and
        16 bits work as well; see :func:`.read_image` and :func:`.as_bgr`.

        Only images of one size form a batch, so none is padded, and its detections do
        not depend on the others (but for the last bits, which torch may compute
        differently for a batch).

        Args:
            images: One image; a list or tuple of them; or any other iterable, such as
                a generator of video frames.
            batch_size: Number of images to read ahead; those of one size among them
                are run together. Defaults to 1.
            max_size: Shrink an image whose longer side has more pixels. Boxes are still
                in pixels of the image as given. Defaults to None: no limit.
            multi_scale: Run the config's ``tta_model`` (SRN's multi-scale test, in
                ``srn_r50_fpn_widerface_ms1400.py``) instead of a single pass. Defaults
                to False.
            channel_order: Order of the colours in arrays: 'bgr', or 'rgb' as in Pillow,
                scikit-image and matplotlib. Does not affect files. Defaults to 'bgr'.

        Returns:
            One result per image, in order: the result itself for one image, a list for
            a list or tuple, a generator for any other iterable, which never holds more
            than ``batch_size`` images.

        Raises:
            OSError: If a file cannot be read.
            ImageError: If a file or array is not an image (it is a ``ValueError``).
            TypeError: If it is neither a file nor an array, or a number is no integer.
            ValueError: If an argument is invalid, or ``multi_scale`` is asked for and
                the config has no ``tta_model``.
        """
        numbers = [batch_size] if max_size is None else [batch_size, max_size]
        if min(map(operator.index, numbers)) < 1:
            raise ValueError(
                'batch_size and max_size must be 1 or more, not '
                f'{batch_size} and {max_size}'
            )
        if channel_order not in ('bgr', 'rgb'):
            raise ValueError(f"channel_order must be 'bgr' or 'rgb', {channel_order=}")
        if multi_scale and not self.has_multi_scale:
            raise ValueError(
                f'{self._backend.name} has no multi-scale test: that needs a config '
                'with a tta_model, as srn_r50_fpn_widerface_ms1400.py has one'
            )

        def stream(images: Iterable[ImageInput]) -> Iterator[FaceDetections]:
            rest = iter(images)
            # In one expression: no name keeps these images while the next are read.
            while found := self._detect_window(
                list(islice(rest, batch_size)), max_size, multi_scale, channel_order
            ):
                yield from found

        if isinstance(images, list | tuple):
            return list(stream(images))
        if isinstance(images, Iterable) and not _is_one(images):
            return stream(images)
        return next(stream([images]))

    def read(self, path: str | PathLike[str]) -> np.ndarray:
        """Read an image file as ``detect`` does.

        Returns:
            uint8 (H, W, 3), BGR, with its EXIF orientation applied.

        Raises:
            OSError: If it cannot be read.
            ImageError: If it is not an image.
        """
        return self._backend.read(Path(path))

    def _detect_window(
        self,
        inputs: list[ImageInput],
        max_size: int | None,
        multi_scale: bool,
        channel_order: ChannelOrder,
    ) -> list[FaceDetections]:
        """Detect on a few images, those of one size together."""
        images, shapes, paths = [], [], []
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, source in enumerate(inputs):
            if isinstance(source, np.ndarray):
                image, path = as_bgr(source, channel_order), None
            elif isinstance(source, str | PathLike):
                image, path = self.read(source), Path(source)
            else:
                raise TypeError(
                    f'an image is a path or a NumPy array, not {type(source).__name__};'
                    " of a Pillow image take np.asarray(image.convert('RGB')) and "
                    "channel_order='rgb'"
                )
            paths.append(path)
            shapes.append(image.shape[:2])
            images.append(limit_size(image, max_size))
            by_shape.setdefault(images[i].shape, []).append(i)
            del image
        limits = (self.max_faces, self._backend.max_faces(multi_scale))
        limit = min((each for each in limits if each), default=None)
        results: dict[int, FaceDetections] = {}
        for indices in by_shape.values():
            found = self._backend([images[i] for i in indices], multi_scale)
            for i, (bboxes, scores) in zip(indices, found, strict=True):
                bboxes = rescale_boxes(bboxes, images[i].shape, shapes[i])
                results[i] = self._select(bboxes, scores, shapes[i], paths[i], limit)
        return [results[i] for i in range(len(inputs))]

    def _select(
        self,
        bboxes: np.ndarray,
        scores: np.ndarray,
        shape: tuple[int, int],
        path: Path | None,
        limit: int | None,
    ) -> FaceDetections:
        """Keep the best faces, clipped."""
        order = np.argsort(-scores, kind='stable')
        if self.score_thr is not None:
            order = order[scores[order] >= self.score_thr]
        order = order[:limit]
        bboxes = np.asarray(bboxes[order], np.float32).reshape(-1, 4)
        scores = np.asarray(scores[order], np.float32)
        height, width = shape
        limit_reached = limit is not None and len(scores) >= limit
        if limit_reached:
            warnings.warn(
                f'max_faces: {path or "an image"} has {len(scores)} faces of a score '
                'above the threshold, as many as are looked for; there may be more',
                stacklevel=2,
            )
        if self.clip:
            bboxes = np.clip(bboxes, 0, np.array([width, height] * 2, np.float32))
            inside = (bboxes[:, 2:] - bboxes[:, :2] >= 1).all(axis=1)
            bboxes, scores = bboxes[inside], scores[inside]
        return FaceDetections(bboxes, scores, width, height, path, limit_reached)


def _is_one(images: Iterable) -> bool:
    """Whether an iterable is a single input, an image or not, instead of a series."""
    kinds = (str, PathLike, bytes, bytearray, memoryview, Mapping, io.IOBase)
    return isinstance(images, kinds) or hasattr(images, '__array__')


def _is_onnx(source: object) -> bool:
    return isinstance(source, str | PathLike) and Path(source).suffix == '.onnx'
