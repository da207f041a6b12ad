"""SRN's multi-scale test as a test-time augmentation."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .box_voting import box_voting

# Released code. Sides are in pixels of the original image, with +1.
MIN_LONGER_SIDE = 30
MAX_SHORTER_SIDE = 100


class View(NamedTuple):
    """One pass of the detector.

    Attributes:
        factor: Scale of the view relative to the base image.
        flip: Whether it is then mirrored left to right.
        longer_above: Keep boxes with ``longer side + 1`` above it, in pixels of the
            original image.
        shorter_below: Keep boxes with ``shorter side + 1`` below it, the same way.
    """

    factor: float
    flip: bool = False
    longer_above: float = -math.inf
    shorter_below: float = math.inf


def multi_scale_views(
    height: int, width: int, max_size: int
) -> tuple[float, tuple[View, ...]]:
    """List the scales at which the released code tests an image, at least four.

    With M = ``max_size``, the views of an image of fewer than M * M pixels are

    - the image and its mirror image;
    - 0.5, for boxes whose longer side + 1 is above 30;
    - 1.5^t, t = 1..floor(log_2.25(M * M / (height * width))), and
      sqrt(M * M / (height * width)), for boxes whose shorter side + 1 is below 100.
      If the last two are equal, both are used, as in the released code.

    Any other image is first resized by r = sqrt(M * M / (height * width)). The views of
    this base image are

    - the base image and its mirror image;
    - 0.75 and 0.5, for boxes whose longer side + 1 is above 30.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        max_size: M. Released: 1400 and 2100.

    Returns:
        Scale of the base image relative to the original, at most 1, and its views.
    """
    pixels, max_pixels = height * width, max_size * max_size
    largest = math.sqrt(max_pixels / pixels)
    views = [View(1.0), View(1.0, flip=True)]
    if pixels >= max_pixels:
        views += [View(f, longer_above=MIN_LONGER_SIDE) for f in (0.75, 0.5)]
        return largest, tuple(views)
    views.append(View(0.5, longer_above=MIN_LONGER_SIDE))
    # Whole numbers: a logarithm in floating point is off at some powers of 2.25.
    t = 1
    while 9**t * pixels <= 4**t * max_pixels:
        views.append(View(1.5**t, shorter_below=MAX_SHORTER_SIDE))
        t += 1
    views.append(View(largest, shorter_below=MAX_SHORTER_SIDE))
    return 1.0, tuple(views)


@MODELS.register_module()
class SRNMultiScaleTest(BaseTTAModel):
    """Run a detector on many scales of each image and let the boxes vote.

    The protocol of SRN's released code: which scales there are depends on the
    image's size (:func:`.multi_scale_views`), the detections of all of them are
    merged by :func:`.box_voting`, class by class. For stock ``tools/test.py --tta``::

        tta_model = dict(type='SRNMultiScaleTest', max_size=2100)
        tta_pipeline = test_pipeline  # plain: loading and packing, no TestTimeAug

    or, in any runner, ``model = dict(type='SRNMultiScaleTest', max_size=2100,
    module=<the detector>)``. The detector may be any of mmdet's.

    The scales are made here and not in the pipeline, one at a time, so that the
    detector holds at most one image of max_size^2 pixels. ``cv2.resize``
    (INTER_LINEAR) gets the image as loaded, uint8, and the factor s. The new sides are
    s times the old ones, rounded half to even, at least 1; but pixels are sampled, and
    boxes scaled back, by s itself and not by the ratio of the rounded sides, as
    mmdet's ``scale_factor`` is.

    Each result carries the name of the protocol as meta information ``protocol``,
    such as 'ms-2100', followed by the arguments that are not the released ones.

    Args:
        module: The detector, or its config.
        max_size: Square root of the largest number of pixels. Released: 1400 and 2100.
        iou_thr: Least IoU in box voting (released code).
        keep_singles: Whether to keep boxes that only one pass has seen (released
            code: no).
        max_per_img: Largest number of boxes per image (released code).
        data_preprocessor: See ``BaseTTAModel``.

    Raises:
        ValueError: If ``max_size`` or ``max_per_img`` is below 1.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        max_size: int,
        iou_thr: float = 0.5,
        keep_singles: bool = False,
        max_per_img: int = 750,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        if min(max_size, max_per_img) < 1:
            raise ValueError(
                'max_size and max_per_img must be 1 or more, not '
                f'{max_size} and {max_per_img}'
            )
        super().__init__(module, data_preprocessor)
        self.max_size = max_size
        self.iou_thr = iou_thr
        self.keep_singles = keep_singles
        self.max_per_img = max_per_img

    @property
    def protocol(self) -> str:
        """Name of the test protocol."""
        name = f'ms-{self.max_size}'
        released = dict(iou_thr=0.5, keep_singles=False, max_per_img=750)
        for argument, value in released.items():
            if getattr(self, argument) != value:
                name += f', {argument}={getattr(self, argument)}'
        return name

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Detect at all scales of each image of a batch.

        Args:
            data: ``inputs``: images (3, H, W) as loaded, a list of them or a tensor;
                ``data_samples``: a ``DetDataSample`` for each. What ``PackDetInputs``
                and a data loader make.

        Returns:
            The same data samples with ``pred_instances``, on the CPU: ``bboxes``
            (K, 4) xyxy in pixels of the original image, not clipped to it, ``scores``
            (K, ) and ``labels`` (K, ), best first.

        Raises:
            TypeError: If an image is no such tensor, as after ``TestTimeAug``.
            ValueError: If an image was resized, padded or flipped before.
        """
        samples = list(data['data_samples'])
        # One image after the other, also if the batch holds more.
        views = [
            list(self._detect(_to_array(image, sample), sample))
            for image, sample in zip(data['inputs'], samples, strict=True)
        ]
        for sample, merged in zip(samples, self.merge_preds(views), strict=True):
            sample.pred_instances = merged.pred_instances
            sample.set_metainfo(dict(protocol=self.protocol))
        return samples

    def merge_preds(
        self, data_samples_list: list[list[DetDataSample]]
    ) -> list[DetDataSample]:
        """Let the boxes of all views of each image vote.

        Args:
            data_samples_list: For each image, the predictions of its views, all in
                pixels of the original image.

        Returns:
            For each image its first data sample, with the merged ``pred_instances``.
        """
        for views in data_samples_list:
            views[0].pred_instances = self._vote(
                InstanceData.cat([view.pred_instances for view in views])
            )
        return [views[0] for views in data_samples_list]

    def _detect(
        self, image: np.ndarray, sample: DetDataSample
    ) -> Iterator[DetDataSample]:
        """Predictions of each view, in pixels of the original image."""
        base, views = multi_scale_views(*image.shape[:2], self.max_size)
        image = _resize(image, base)
        for view in views:
            seen = _resize(image, view.factor)
            if view.flip:
                seen = seen[:, ::-1]
            found = self._run_detector(seen, sample)
            width = seen.shape[1] if view.flip else None
            found.bboxes = rescale_boxes(found.bboxes, base * view.factor, width)
            sides = found.bboxes[:, 2:] - found.bboxes[:, :2] + 1
            fits = sides.amax(1) > view.longer_above
            fits &= sides.amin(1) < view.shorter_below
            yield DetDataSample(pred_instances=found[fits])

    def _run_detector(self, image: np.ndarray, sample: DetDataSample) -> InstanceData:
        """Run one pass; boxes in float64 and pixels of this image."""
        shape = image.shape[:2]
        # As if it were the original, so that the detector does not rescale boxes.
        shapes = dict(ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0))
        seen = DetDataSample(metainfo={**sample.metainfo, **shapes})
        # A copy: torch takes no mirrored array, however narrow.
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
        (result,) = self.module.test_step(dict(inputs=[tensor], data_samples=[seen]))
        found = result.pred_instances
        return InstanceData(
            bboxes=found.bboxes.detach().cpu().double(),
            scores=found.scores.detach().cpu(),
            labels=found.labels.cpu(),
        )

    def _vote(self, found: InstanceData) -> InstanceData:
        voted = [found[:0]]
        voted[0].bboxes = voted[0].bboxes.float()
        for label in found.labels.unique():
            own = found[found.labels == label]
            bboxes, scores = box_voting(
                own.bboxes.numpy(),
                own.scores.double().numpy(),
                self.iou_thr,
                self.keep_singles,
                self.max_per_img,
            )
            voted.append(
                InstanceData(
                    bboxes=torch.from_numpy(bboxes).float(),
                    scores=torch.from_numpy(scores).to(found.scores.dtype),
                    labels=label.repeat(len(scores)),
                )
            )
        merged = InstanceData.cat(voted)
        order = merged.scores.sort(descending=True, stable=True).indices
        return merged[order[: self.max_per_img]]


def _to_array(image: Any, sample: DetDataSample) -> np.ndarray:
    """Return the image (H, W, C) as it was loaded."""
    if not isinstance(image, Tensor) or image.dim() != 3:
        raise TypeError(
            'SRNMultiScaleTest takes images (3, H, W) and makes the scales itself: '
            'tta_pipeline must be the plain test pipeline, without TestTimeAug'
        )
    shape, flipped = tuple(image.shape[1:]), sample.get('flip', False)
    loaded = tuple(sample.get('ori_shape', shape)[:2])
    if shape != loaded or flipped:
        raise ValueError(
            'SRNMultiScaleTest needs the image as it was loaded, '
            f'{loaded[1]}x{loaded[0]}, but got it {shape[1]}x{shape[0]}, {flipped=}: '
            'leave resizing, padding and flipping out of tta_pipeline'
        )
    return image.detach().cpu().permute(1, 2, 0).contiguous().numpy()


def _resize(image: np.ndarray, factor: float) -> np.ndarray:
    if factor == 1:
        return image
    height, width, channels = image.shape
    # A factor, not a size: only then does OpenCV sample by this very factor.
    options = dict(dsize=None, fx=factor, fy=factor)
    if min(round(height * factor), round(width * factor)) < 1:  # OpenCV refuses
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        options = dict(dsize=size)
    resized = cv2.resize(image, interpolation=cv2.INTER_LINEAR, **options)
    return resized.reshape(*resized.shape[:2], channels)  # OpenCV drops a single one


def rescale_boxes(bboxes: Tensor, scale: float, flipped_width: int | None) -> Tensor:
    """Map boxes (N, 4) of a view to pixels of the original image.

    Args:
        bboxes: xyxy in pixels of the view.
        scale: Scale of the view relative to the original image.
        flipped_width: The view's width in pixels if it was mirrored.
    """
    if flipped_width is not None:
        x1, y1, x2, y2 = bboxes.unbind(1)
        bboxes = torch.stack(
            (flipped_width - x2 - 1, y1, flipped_width - x1 - 1, y2), dim=1
        )
    return (bboxes - (scale - 1) / 2) / scale
