"""SRN's multi-scale test as a test-time augmentation."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .box_voting import box_voting
from .multi_scale_views import View, multi_scale_views


@MODELS.register_module()
class SRNMultiScaleTest(BaseTTAModel):
    """Runs a detector on many scales of each image and lets the boxes vote.

    The protocol of SRN's released code: which scales there are depends on the
    image's size (:func:`.multi_scale_views`), the detections of all of them are
    merged by :func:`.box_voting`, class by class. For stock ``tools/test.py --tta``::

        tta_model = dict(type='SRNMultiScaleTest', max_size=2100)
        tta_pipeline = test_pipeline  # plain: loading and packing, no TestTimeAug

    or, in any runner, ``model = dict(type='SRNMultiScaleTest', max_size=2100,
    module=<the detector>)``. The detector may be any of mmdet's.

    The scales are made here and not in the pipeline, one at a time, so that no more
    than one image of up to max_size^2 pixels is in the detector at once, and its
    features are gone before the next. ``cv2.resize`` (INTER_LINEAR) gets the image
    as it was loaded, uint8, and the factor s. The new sides are s times the old ones,
    rounded half to even, at least 1; but pixels are sampled, and boxes taken back, by
    s itself and not by the ratio of the rounded sides, which mmdet's ``scale_factor``
    is. Boxes are taken back in this order: mirrored in the width of the resized
    image, x -> width - x - 1; then x -> (x - (s - 1) / 2) / s. Their sizes are
    measured after that, in pixels of the original image.

    Each result carries the name of the protocol as meta information ``protocol``,
    such as 'ms-2100', followed by the arguments that are not the released ones.

    Args:
        module (dict or nn.Module): The detector, or its config.
        max_size (int): Square root of the largest number of pixels. Released code:
            1400 and 2100.
        iou_thr (float): Least IoU in box voting. Defaults to 0.5, released code.
        keep_singles (bool): Keep boxes that only one pass has seen. Defaults to
            False, released code.
        max_per_img (int): How many boxes an image may have. Defaults to 750,
            released code.
        data_preprocessor (dict or nn.Module, optional): See ``BaseTTAModel``.
            Defaults to None.

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
        switches = dict(iou_thr=0.5, keep_singles=False, max_per_img=750)
        changed = (
            f', {name}={getattr(self, name)}'
            for name, released in switches.items()
            if getattr(self, name) != released
        )
        return f'ms-{self.max_size}{"".join(changed)}'

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Detects at all scales of each image of a batch.

        Args:
            data (dict): ``inputs``: images (3, H, W) as loaded, a list of them or a
                tensor; ``data_samples``: a ``DetDataSample`` for each. What
                ``PackDetInputs`` and a data loader make.

        Returns:
            list[DetDataSample]: The same data samples with ``pred_instances``, on
            the CPU: ``bboxes`` (K, 4) xyxy in pixels of the original image, not
            clipped to it, ``scores`` (K, ) and ``labels`` (K, ), best first.

        Raises:
            TypeError: If ``data`` is not such a dict.
            ValueError: If an image was resized, padded or flipped before.
        """
        if not isinstance(data, dict) or not {'inputs', 'data_samples'} <= set(data):
            raise TypeError(
                'data must be a dict with inputs and data_samples, as PackDetInputs '
                'and pseudo_collate make it'
            )
        samples = list(data['data_samples'])
        images = [
            _to_array(image, sample)
            for image, sample in zip(data['inputs'], samples, strict=True)
        ]
        # One image after the other, also if the batch holds more.
        views = [
            list(self._detect(image, sample))
            for image, sample in zip(images, samples, strict=True)
        ]
        for sample, merged in zip(samples, self.merge_preds(views), strict=True):
            sample.pred_instances = merged.pred_instances
            sample.set_metainfo(dict(protocol=self.protocol))
        return samples

    def merge_preds(
        self, data_samples_list: list[list[DetDataSample]]
    ) -> list[DetDataSample]:
        """Lets the boxes of all views of each image vote.

        Args:
            data_samples_list (list[list[DetDataSample]]): For each image, the
                predictions of its views, all in pixels of the original image.

        Returns:
            list[DetDataSample]: For each image its first data sample, with the
            merged ``pred_instances``.
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
            found.bboxes = _take_back(found.bboxes, base * view.factor, width)
            yield DetDataSample(pred_instances=found[_counts(found.bboxes, view)])

    def _run_detector(self, image: np.ndarray, sample: DetDataSample) -> InstanceData:
        """Detections of one pass, boxes in float64 and pixels of this image."""
        shape = image.shape[:2]
        # Said to be the original, so that the detector does not take boxes back.
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
        voted = []
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
        if not voted:
            return InstanceData(
                bboxes=found.bboxes.float(), scores=found.scores, labels=found.labels
            )
        merged = InstanceData.cat(voted)
        order = merged.scores.sort(descending=True, stable=True).indices
        return merged[order[: self.max_per_img]]


def _to_array(image: Any, sample: DetDataSample) -> np.ndarray:
    """The image (H, W, C) as it was loaded."""
    if not isinstance(image, Tensor) or image.dim() != 3:
        raise TypeError(
            'SRNMultiScaleTest takes images (3, H, W) and makes the scales itself: '
            'tta_pipeline must be the plain test pipeline, without TestTimeAug'
        )
    shape = tuple(image.shape[1:])
    loaded = tuple(sample.get('ori_shape', shape)[:2])
    if shape != loaded or sample.get('flip', False):
        raise ValueError(
            'SRNMultiScaleTest needs the image as it was loaded, '
            f'{loaded[1]}x{loaded[0]}, but got it {shape[1]}x{shape[0]}'
            f'{", flipped" if sample.get("flip", False) else ""}: leave resizing, '
            'padding and flipping out of tta_pipeline'
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


def _take_back(bboxes: Tensor, scale: float, flipped_width: int | None) -> Tensor:
    """Boxes (N, 4) in pixels of the original image.

    Args:
        bboxes: xyxy in pixels of the view.
        scale: By how much the view was resized.
        flipped_width: The view's width in pixels if it was mirrored.
    """
    if flipped_width is not None:
        x1, y1, x2, y2 = bboxes.unbind(1)
        bboxes = torch.stack(
            (flipped_width - x2 - 1, y1, flipped_width - x1 - 1, y2), dim=1
        )
    return (bboxes - (scale - 1) / 2) / scale


def _counts(bboxes: Tensor, view: View) -> Tensor:
    """Which boxes are of the size that the view is there for."""
    sides = bboxes[:, 2:] - bboxes[:, :2] + 1
    return (sides.amax(1) > view.longer_above) & (sides.amin(1) < view.shorter_below)
