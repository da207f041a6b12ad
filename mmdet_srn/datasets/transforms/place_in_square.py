"""The square around what LoadSquareCrop loaded."""

from typing import Literal

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from .random_square_crop import RandomSquareCrop, add_homography

_DTYPES = ('float32', 'float16', 'uint8')


@TRANSFORMS.register_module()
class PlaceInSquare(BaseTransform):
    """Put the part that :class:`LoadSquareCrop` loaded into its square; resize that.

    Beside the photograph the square is black. RandomFlip may stand before, where it
    moves fewer pixels, or after.

    The result is an (H, W, C) view of (C, H, W) in memory: ``PackDetInputs`` need not
    copy it.

    It changes img, img_shape, gt_bboxes, homography_matrix and scale_factor, the
    output's over the photograph's, and removes part_in_square.

    Args:
        interpolation: As in mmdet's ``Resize``. Defaults to 'bilinear', its default.
        clip_boxes: Whether boxes are clipped to the square. Defaults to True.
        dtype: Type of the output for an image of float32, as PhotoMetricDistortion
            leaves it; uint8 stays uint8. Fewer bytes go from the workers to the main
            process and to the GPU, where DetDataPreprocessor makes float32 of any
            type. 'float16' is exact to 1/16 below 256 and to 1/8 below 512. 'uint8'
            is rounded and clipped to 0..255, as in SSD's own code: mmdet's
            PhotoMetricDistortion leaves values outside. Defaults to 'float16'.

    Raises:
        ValueError: If LoadSquareCrop did not come before, or if the image's size has
            changed since.
    """

    def __init__(
        self,
        interpolation: str = 'bilinear',
        clip_boxes: bool = True,
        dtype: Literal['float32', 'float16', 'uint8'] = 'float16',
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f'dtype must be one of {_DTYPES}, not {dtype!r}')
        self.interpolation = interpolation
        self.clip_boxes = clip_boxes
        self.dtype = dtype

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Place and resize."""
        if 'part_in_square' not in results:
            raise ValueError('PlaceInSquare needs LoadSquareCrop before it')
        image = results['img']
        if image.shape[:2] != results['img_shape']:
            raise ValueError(
                'between LoadSquareCrop and PlaceInSquare the image changed from '
                f'{results["img_shape"]} to {image.shape[:2]}: resize and crop after'
            )
        left, top, side = results.pop('part_in_square')
        flipped = results.get('flip_direction') if results.get('flip') else None
        if flipped in ('horizontal', 'diagonal'):
            left = side - image.shape[1] - left
        if flipped in ('vertical', 'diagonal'):
            top = side - image.shape[0] - top
        width, height = results['scale']
        results['img'] = self._resize_on_black(image, left, top, side, width, height)
        results['img_shape'] = (height, width)
        scale = width / side
        results['scale_factor'] = tuple(f * scale for f in results['scale_factor'])
        add_homography(results, scale, left * scale, top * scale)
        boxes = results.get('gt_bboxes')
        if boxes is not None:
            boxes.translate_([left, top])
            boxes.rescale_((scale, scale))
            if self.clip_boxes:
                boxes.clip_((height, width))
        return results

    def _resize_on_black(
        self, image: np.ndarray, left: int, top: int, side: int, width: int, height: int
    ) -> np.ndarray:
        """Put the image on a black square, unless it lies outside; resize that."""
        rows, columns = image.shape[:2]
        inside = 0 <= left <= side - columns and 0 <= top <= side - rows
        channels = np.moveaxis(np.atleast_3d(image), -1, 0)
        dtype = self.dtype if image.dtype == np.float32 else image.dtype
        resized = np.empty((len(channels), height, width), dtype)
        # Rounded before resizing, halved after it: cv2 does not know float16.
        halve = resized.dtype == np.float16
        square = np.zeros((side, side), image.dtype if halve else dtype)
        scratch = np.empty((height, width), square.dtype)
        for channel, out in zip(channels, resized, strict=True):
            if inside:
                if channel.dtype != square.dtype:
                    channel = _to_uint8(channel)
                square[top : top + rows, left : left + columns] = channel
            mmcv.imresize(
                square,
                (width, height),
                interpolation=self.interpolation,
                out=scratch if halve else out,
                backend='cv2',
            )
            if halve:
                torch.from_numpy(out).copy_(torch.from_numpy(scratch))
        return resized.transpose(1, 2, 0) if image.ndim == 3 else resized[0]

    __repr__ = RandomSquareCrop.__repr__


def _to_uint8(channel: np.ndarray) -> np.ndarray:
    """Round and clip in PyTorch, which is faster than NumPy here."""
    floats = torch.from_numpy(np.ascontiguousarray(channel))
    return floats.round().clamp_(0, 255).to(torch.uint8).numpy()
