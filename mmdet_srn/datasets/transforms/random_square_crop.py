"""The square crop of SRN's training recipe."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

_UNSUPPORTED = ('gt_masks', 'gt_seg_map', 'gt_keypoints', 'gt_instances_ids')


@TRANSFORMS.register_module()
class RandomSquareCrop(BaseTransform):
    """Cut a random square out of the image.

    Its side is, at random, the image's shorter side or a random share of it (paper,
    "Data Augmentation"). It lies anywhere inside the image. A box stays if its centre
    is inside: the usual rule, the paper names none.

    It reads img and, if there, gt_bboxes (BaseBoxes or float array (N, 4), pixels
    xyxy), gt_bboxes_labels and gt_ignore_flags. It changes these, img_shape and
    homography_matrix.

    Args:
        ratio_range: Smallest and largest share of the shorter side, both in (0, 1].
            Defaults to the paper's (0.5, 1.0).
        full_prob: Probability of the square with the whole shorter side. Defaults
            to 0.5: the paper picks one of the two "randomly".
        clip_boxes: Whether boxes are clipped to the square. If not, the transforms
            that follow must not clip either (``Resize(clip_object_border=False)``).
            Defaults to True.
        max_tries: How many squares are drawn at most to find one with a face that is
            not ignored. Images without such faces use the first. Defaults to 50, our
            choice: the paper says nothing.
        allow_empty: What to do if no such square was found: True keeps the last one
            as an image without faces, False returns None, and the data set uses
            another image. Defaults to True.
    """

    def __init__(
        self,
        ratio_range: tuple[float, float] = (0.5, 1.0),
        full_prob: float = 0.5,
        clip_boxes: bool = True,
        max_tries: int = 50,
        allow_empty: bool = True,
    ) -> None:
        low, high = ratio_range
        if not 0 < low <= high <= 1:
            raise ValueError(f'ratio_range must be within (0, 1], not {ratio_range}')
        if not 0 <= full_prob <= 1:
            raise ValueError(f'full_prob must be within [0, 1], not {full_prob}')
        if max_tries < 1:
            raise ValueError(f'max_tries must be at least 1, not {max_tries}')
        self.ratio_range = (low, high)
        self.full_prob = full_prob
        self.clip_boxes = clip_boxes
        self.max_tries = max_tries
        self.allow_empty = allow_empty

    def _random_square(self, height: int, width: int) -> tuple[int, int, int]:
        """Draw left, top and side, in whole pixels, of a square inside the image."""
        side = short = min(height, width)
        if np.random.uniform() >= self.full_prob:
            side = max(1, round(np.random.uniform(*self.ratio_range) * short))
        left = np.random.randint(0, width - side + 1)
        top = np.random.randint(0, height - side + 1)
        return left, top, side

    # One cached method draws everything, so that a cached result is one square. Do
    # not override it: mmcv would count a call for each class.
    @cache_randomness
    def _find_square(
        self, height: int, width: int, faces: np.ndarray
    ) -> tuple[int, int, int]:
        """Draw the square for an image with faces (N, 4), none of them ignored."""
        return self._draw(height, width, faces)

    def _draw(self, height: int, width: int, faces: np.ndarray) -> tuple[int, int, int]:
        """Draw until a square holds a face's centre, or the tries are used up."""
        tries = self.max_tries if len(faces) else 1
        for square in islice(self._squares(height, width), tries):
            if centres_inside(faces, square).any():
                break
        return square

    def _squares(self, height: int, width: int) -> Iterator[tuple[int, int, int]]:
        """Draw one square after the other."""
        while True:
            yield self._random_square(height, width)

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Crop image and boxes; for None see ``allow_empty``."""
        image = results['img']
        square = self._crop_annotation(results, *image.shape[:2])
        if square is None:
            return None
        left, top, side = square
        results['img'] = image[top : top + side, left : left + side]
        results['img_shape'] = (side, side)
        add_homography(results, 1, -left, -top)
        if self.clip_boxes and results.get('gt_bboxes') is not None:
            results['gt_bboxes'].clip_((side, side))
        return results

    def _crop_annotation(
        self, results: dict, height: int, width: int
    ) -> tuple[int, int, int] | None:
        """Draw the square and keep the boxes in it, in its coordinates, unclipped."""
        if found := [key for key in _UNSUPPORTED if results.get(key) is not None]:
            raise NotImplementedError(f'{type(self).__name__} does not crop {found}')
        boxes = results.get('gt_bboxes')
        if boxes is None:
            boxes = HorizontalBoxes(np.zeros((0, 4), np.float32))
        faces = boxes.tensor.numpy()
        wanted = np.ones(len(faces), bool)
        if results.get('gt_ignore_flags') is not None:
            wanted = ~results['gt_ignore_flags'].astype(bool)

        square = self._find_square(height, width, faces[wanted])
        inside = centres_inside(faces, square)
        if not (inside & wanted).any() and not self.allow_empty:
            return None
        if results.get('gt_bboxes') is not None:
            boxes = boxes[inside]
            boxes.translate_([-square[0], -square[1]])
            results['gt_bboxes'] = boxes
        for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
            if results.get(key) is not None:
                results[key] = results[key][inside]
        return square

    def __repr__(self) -> str:
        options = {n: value for n, value in vars(self).items() if not n.startswith('_')}
        values = ', '.join(f'{name}={value!r}' for name, value in options.items())
        return f'{type(self).__name__}({values})'


def centres_inside(boxes: np.ndarray, square: tuple[int, int, int]) -> np.ndarray:
    """Tell which boxes (N, 4), pixels xyxy, have their centre in a square.

    The square is left, top and side; its right and lower edge are outside.
    """
    left, top, side = square
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - (left, top)
    return ((offset >= 0) & (offset < side)).all(axis=1)


def add_homography(results: dict, scale: float, left: float, top: float) -> None:
    """Append scaling, then a shift by left and top, to the homography matrix."""
    step = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]], np.float32)
    before = results.get('homography_matrix')
    results['homography_matrix'] = step if before is None else step @ before
