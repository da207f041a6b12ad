"""FaceDetector: images in, faces out."""

import io
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np

from .._stack import use_mmdet
from ..deploy.onnx_runner import suppress
from ..weights import config_file, weights_file
from .face_detections import FaceDetections
from .images import ChannelOrder, from_memory, limit_size, rescale_boxes
from .onnx_backend import OnnxBackend
from .tiles import Found, find_in_tiles

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config
    from PIL import Image

    from .mmdet_backend import MMDetBackend

    Backend: TypeAlias = MMDetBackend | OnnxBackend

ImageInput: TypeAlias = (
    'np.ndarray | str | PathLike[str] | bytes | Image.Image | torch.Tensor'
)
_Image = TypeVar('_Image', bound=ImageInput)


class FaceDetector:
    """Finds faces: with the model that is shipped, a trained config, or an ONNX file.

    .. code-block:: python

        detector = FaceDetector()  # or ('config.py', 'epoch_3.pth'), or ('model.onnx')
        faces = detector.detect('photo.jpg')
        faces.bboxes, faces.scores  # (N, 4) xyxy in pixels, (N,); best first

    The shipped model (``mmdet_srn/weights``) is run by mmdet where that is installed,
    else, or with MMDET_SRN_LIGHT=1, by onnxruntime. That asks no queries (see
    ``QuerySRNHead``) and may find a few small faces more.

    It runs the config's own test pipeline, including its ``Resize``, and its model in
    evaluation mode. Its methods are not thread-safe. In a process forked from that of a
    detector, PyTorch computes in one thread on a CPU, and not on a GPU: start processes
    with multiprocessing's 'spawn', and make the detector in each. One of an exported
    file can be pickled; where it arrives, the file is loaded again.

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
        min_size: Drop faces whose shorter side has fewer pixels in the image as given.
            Defaults to 0.
        clip: Clip boxes at the image's edges and drop those with less than a pixel left
            in width or height, so that no crop is empty. Defaults to True.
        threads: Number of threads on a CPU; PyTorch has one number for all of a
            process. Defaults to None: PyTorch's number, or onnxruntime on each CPU that
            the process may use.

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
        min_size: float = 0,
        clip: bool = True,
        threads: int | None = None,
    ) -> None:
        if score_thr is not None and not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must be from 0 to 1, not {score_thr}')
        for name, number in (('max_faces', max_faces), ('threads', threads)):
            if number is not None and operator.index(number) < 1:
                raise ValueError(f'{name} must be 1 or more, not {number}')
        if not min_size >= 0:
            raise ValueError(f'min_size must be 0 or more, not {min_size}')
        self.score_thr = score_thr
        self.max_faces = max_faces
        self.min_size = min_size
        self.clip = clip
        options = dict(device=device, max_faces=max_faces, threads=threads)
        if config is None and checkpoint is None:
            if use_mmdet():
                config, checkpoint = config_file(), weights_file('.pth')
            else:
                checkpoint = weights_file('.onnx')
        given = [source for source in (config, checkpoint) if source is not None]
        exported = [source for source in given if _is_onnx(source)]
        if exported and len(given) == 1:
            self._backend: Backend = OnnxBackend(exported[0], **options)
        elif config is None or checkpoint is None or exported:
            raise ValueError(
                'FaceDetector takes a config and a checkpoint, an .onnx file alone, or '
                f'nothing; got config {config!r}, checkpoint {checkpoint!r}'
            )
        else:
            from .. import register

            register()
            from .mmdet_backend import MMDetBackend

            self._backend = MMDetBackend(config, checkpoint, **options)

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
        images: 'ImageInput | Iterable[ImageInput]',
        *,
        batch_size: int = 1,
        max_size: int | None = None,
        multi_scale: bool = False,
        channel_order: ChannelOrder = 'bgr',
        tile: int | None = None,
    ) -> FaceDetections | list[FaceDetections] | Iterator[FaceDetections]:
        """Find the faces of one image or of many.

        An image is a file; its bytes; an array (H, W, 3) of uint8 in OpenCV's channel
        order, BGR; a torch tensor (C, H, W) of uint8, RGB; or a Pillow image. Files and
        bytes are read with their EXIF orientation applied. Grey images, RGBA and 16
        bits work as well; see :func:`.read_image` and :func:`.from_memory`.

        Only images of one size form a batch, so none is padded, and its detections do
        not depend on the others (but for the last bits, which torch may compute
        differently for a batch).

        Args:
            images: One image; a list or tuple of them; a batch, that is an array
                (N, H, W, 3) or a tensor (N, C, H, W); or any other iterable, such as a
                generator of video frames.
            batch_size: Number of images to read ahead; those of one size among them
                are run together. Defaults to 1.
            max_size: Shrink an image whose longer side has more pixels. Boxes are still
                in pixels of the image as given. Defaults to None: no limit.
            multi_scale: Run the config's ``tta_model`` (SRN's multi-scale test, in
                ``srn_r50_fpn_widerface_ms1400.py``) instead of a single pass. Defaults
                to False.
            channel_order: Order of the colours in arrays: 'bgr', or 'rgb' as in Pillow,
                scikit-image and matplotlib. Affects nothing else. Defaults to 'bgr'.
            tile: Cut an image with a longer side into overlapping tiles with sides of
                so many pixels, 64 or more, and look in each and in the whole, made
                smaller to ``max_size`` (None: to ``tile``); NMS joins what is found.
                See :func:`.choose_overlap`. ``max_faces`` is counted in the image, the
                model's limit in each tile. Defaults to None: no tiles.

        Returns:
            One result per image, in order: the result itself for one image, a list for
            a list, tuple or batch, a generator for any other iterable, which never
            holds more than ``batch_size`` images.

        Raises:
            OSError: If a file cannot be read.
            ImageError: If a file or array is not an image (it is a ``ValueError``).
            TypeError: If it is none of these, or a number is no integer.
            ValueError: If an argument is invalid, or ``multi_scale`` is asked for and
                the config has no ``tta_model``.
        """
        numbers = [batch_size] if max_size is None else [batch_size, max_size]
        if min(map(operator.index, numbers)) < 1:
            raise ValueError(
                'batch_size and max_size must be 1 or more, not '
                f'{batch_size} and {max_size}'
            )
        if tile is not None and operator.index(tile) < 64:
            raise ValueError(f'tile must be 64 or more, not {tile}')
        if channel_order not in ('bgr', 'rgb'):
            raise ValueError(f"channel_order must be 'bgr' or 'rgb', {channel_order=}")
        if multi_scale and not self.has_multi_scale:
            raise ValueError(
                f'{self._backend.name} has no multi-scale test: that needs a config '
                'with a tta_model, as srn_r50_fpn_widerface_ms1400.py has one'
            )

        options = (batch_size, max_size, multi_scale, channel_order, tile)

        def stream(images: Iterable[ImageInput]) -> Iterator[FaceDetections]:
            rest = iter(images)
            # In one expression: no name keeps these images while the next are read.
            while found := self._detect_window(
                list(islice(rest, batch_size)), *options
            ):
                yield from found

        if getattr(images, 'ndim', None) == 4:
            images = list(images)
        if isinstance(images, list | tuple):
            return list(stream(images))
        if isinstance(images, Iterable) and not _is_one(images):
            return stream(images)
        return next(stream([images]))

    def read(self, source: str | PathLike[str] | bytes) -> np.ndarray:
        """Read an image file, or the bytes of one, as ``detect`` does.

        Returns:
            uint8 (H, W, 3), BGR, with its EXIF orientation applied.

        Raises:
            OSError: If it cannot be read.
            ImageError: If it is not an image.
        """
        return self._backend.read(source if isinstance(source, bytes) else Path(source))

    def _detect_window(
        self,
        inputs: list[ImageInput],
        batch_size: int,
        max_size: int | None,
        multi_scale: bool,
        channel_order: ChannelOrder,
        tile: int | None,
    ) -> list[FaceDetections]:
        """Detect on a few images, those of one size together."""
        images, shapes, paths = {}, [], []
        by_shape: dict[tuple[int, ...], list[int]] = {}
        results: dict[int, FaceDetections] = {}
        for i, source in enumerate(inputs):
            image, path = self._load(source, channel_order)
            paths.append(path)
            shapes.append(image.shape[:2])
            if tile is not None and max(shapes[i]) > tile:
                whole = max_size or tile
                found = self._find_in_tiles(image, tile, whole, batch_size, multi_scale)
                results[i] = self._select(*found, shapes[i], path)
            else:
                images[i] = limit_size(image, max_size)
                by_shape.setdefault(images[i].shape, []).append(i)
            del image
        for indices in by_shape.values():
            found = self._backend([images[i] for i in indices], multi_scale)
            for i, (bboxes, scores) in zip(indices, found, strict=True):
                bboxes = rescale_boxes(bboxes, images[i].shape, shapes[i])
                full = self._is_full(scores, multi_scale)
                results[i] = self._select(bboxes, scores, full, shapes[i], paths[i])
        return [results[i] for i in range(len(inputs))]

    def _load(
        self, source: ImageInput, channel_order: ChannelOrder
    ) -> tuple[np.ndarray, Path | None]:
        """Return an image as the backend takes it, and its file if it has one."""
        if isinstance(source, str | PathLike):
            return self.read(source), Path(source)
        if isinstance(source, bytes | bytearray | memoryview):
            return self.read(bytes(source)), None
        if hasattr(source, '__array__') or hasattr(source, '__array_interface__'):
            return from_memory(source, channel_order), None
        raise TypeError(
            'an image is a path, bytes, an array, a torch tensor or a Pillow image, '
            f'not {type(source).__name__}'
        )

    def _find_in_tiles(
        self,
        image: np.ndarray,
        tile: int,
        whole: int,
        batch_size: int,
        multi_scale: bool,
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return boxes, scores, and whether the model gave all it can somewhere."""
        full = False

        def detect(images: Sequence[np.ndarray]) -> Found:
            nonlocal full
            found = self._backend(images, multi_scale)
            full |= any(self._is_full(scores, multi_scale) for _, scores in found)
            return found

        bboxes, scores = find_in_tiles(detect, image, tile, whole, batch_size)
        order = self._best(scores)
        bboxes, scores = bboxes[order], scores[order]
        keep = suppress(bboxes, self._backend.iou_threshold)
        return bboxes[keep], scores[keep], full

    def _best(self, scores: np.ndarray) -> np.ndarray:
        """Return the indices of scores that are high enough, best first."""
        order = np.argsort(-scores, kind='stable')
        if self.score_thr is not None:
            order = order[scores[order] >= self.score_thr]
        return order

    def _is_full(self, scores: np.ndarray, multi_scale: bool) -> bool:
        """Whether the model may have found more faces than it can return."""
        limit = self._backend.max_faces(multi_scale)
        return limit is not None and len(self._best(scores)) >= limit

    def _select(
        self,
        bboxes: np.ndarray,
        scores: np.ndarray,
        limit_reached: bool,
        shape: tuple[int, int],
        path: Path | None,
    ) -> FaceDetections:
        """Keep the best faces, clipped."""
        order = self._best(scores)
        bboxes = np.asarray(bboxes[order], np.float32).reshape(-1, 4)
        scores = np.asarray(scores[order], np.float32)
        height, width = shape
        if self.clip:
            bboxes = np.clip(bboxes, 0, np.array([width, height] * 2, np.float32))
        if self.clip or self.min_size:
            sides = (bboxes[:, 2:] - bboxes[:, :2]).min(axis=1)
            large = sides >= max(self.min_size, self.clip)
            bboxes, scores = bboxes[large], scores[large]
        if self.max_faces is not None and len(scores) >= self.max_faces:
            limit_reached = True
            bboxes, scores = bboxes[: self.max_faces], scores[: self.max_faces]
        if limit_reached:
            warnings.warn(
                f'max_faces: {path or "an image"} has {len(scores)} faces of a score '
                'above the threshold, as many as are looked for; there may be more',
                stacklevel=2,
            )
        return FaceDetections(bboxes, scores, width, height, path, limit_reached)


def _is_one(images: Iterable) -> bool:
    """Whether an iterable is a single input, an image or not, instead of a series."""
    kinds = (str, PathLike, bytes, bytearray, memoryview, Mapping, io.IOBase)
    return isinstance(images, kinds) or hasattr(images, '__array__')


def _is_onnx(source: object) -> bool:
    return isinstance(source, str | PathLike) and Path(source).suffix == '.onnx'
