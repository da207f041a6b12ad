"""SRN's square crop, decided before anything is painted."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from mmengine import fileio
from mmengine.logging import print_log

from .random_square_crop import RandomSquareCrop, add_homography


@TRANSFORMS.register_module()
class LoadSquareCrop(RandomSquareCrop):
    """Load the part of a photograph that lies in a random square.

    Together with :class:`PlaceInSquare` it replaces LoadImageFromFile, Expand,
    :class:`RandomSquareCrop` and Resize, with the same random numbers and the same
    pixels: the photograph lies on a black canvas up to twice as wide and high, and the
    square anywhere on that canvas. The canvas is never painted, though, and the steps
    in between work on fewer pixels::

        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='LoadSquareCrop', size=1024),
        dict(type='PhotoMetricDistortion'),  # or other steps on single pixels
        dict(type='RandomFlip', prob=0.5),
        dict(type='PlaceInSquare'),
        dict(type='PackDetInputs'),

    Between the two, ``img`` is the part of the photograph inside the square, without
    the black around it, and the boxes are in its pixels, unclipped. Steps there may
    change pixels and flip; they must not resize, move or cut.

    Where the square is at least twice as large as the output, blocks of 2 x 2 pixels
    are averaged before all else, from four times on 4 x 4, and so on. The result has
    no fewer pixels than the output, and the square lies on the grid of these blocks.
    That takes less time than the naive order, and averages do not alias as bilinear
    interpolation does; ``reduce=False`` gives the naive order's pixels exactly. Crops
    of 1024 from WIDER FACE, whose photographs are 1024 pixels wide, are never reduced.

    It reads img_path and, if there, gt_bboxes, gt_bboxes_labels and gt_ignore_flags. It
    sets or changes these and img, img_shape (the part's), ori_shape (the photograph's),
    scale_factor, homography_matrix and, for :class:`PlaceInSquare`, scale (the output's
    width and height) and part_in_square (left, top and the square's side).

    Args:
        size: Width and height of the output in pixels: one number, or, as in mmdet's
            ``Resize``, the same one twice.
        expand_range: Smallest and largest size of the canvas relative to the
            photograph, at least 1. Defaults to the paper's (1, 2).
        expand_prob: Probability of a larger canvas. Defaults to 0.5, as in mmdet's
            SSD; the paper names none.
        side_choices: SCRFD's crops (https://arxiv.org/abs/2105.04714) in the place of
            the four arguments for canvas and side: sides relative to the photograph's
            shorter one, of which one is drawn, each as often. A square that is longer
            than the photograph lies anywhere around it. SCRFD's are .3 .45 .6 .8 1 1.2
            1.4 1.6 1.8 2, for an output of 640; the margin is grey there, black here.
        reduce: Whether blocks are averaged as above. Defaults to True.
        color_type: As in mmcv's ``LoadImageFromFile``, like the next two.
        imdecode_backend: Library that decodes.
        backend_args: Arguments of the file backend.
        skip_broken: Whether a training goes on without files that cannot be read. A
            warning names each and counts them; each worker process has a count of its
            own. The data set takes another image, and raises an error after a thousand
            in a row; in ``test_mode`` it does so at once. What OpenCV decodes in part
            is not noticed: check_dataset.py finds it. Defaults to False, an error.
        **crop: Arguments of :class:`RandomSquareCrop` but ``clip_boxes``, which is
            left to PlaceInSquare.

    Raises:
        ValueError: If the file cannot be decoded (also OSError or cv2.error).
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        expand_range: tuple[float, float] = (1.0, 2.0),
        expand_prob: float = 0.5,
        side_choices: Sequence[float] | None = None,
        reduce: bool = True,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        backend_args: dict[str, Any] | None = None,
        skip_broken: bool = False,
        **crop: Any,
    ) -> None:
        super().__init__(clip_boxes=False, **crop)
        low, high = expand_range
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1 or min(sides) < 1:
            raise ValueError(f'size must be that of a square in pixels, not {size}')
        if not 1 <= low <= high:
            raise ValueError(f'expand_range must be at least 1, not {expand_range}')
        if not 0 <= expand_prob <= 1:
            raise ValueError(f'expand_prob must be within [0, 1], not {expand_prob}')
        if side_choices is not None and not (side_choices and min(side_choices) > 0):
            raise ValueError(f'side_choices must be positive, not {side_choices}')
        (self.size,) = sides
        self.expand_range = (low, high)
        self.expand_prob = expand_prob
        self.side_choices = None if side_choices is None else tuple(side_choices)
        self.reduce = reduce
        self.color_type = color_type
        self.imdecode_backend = imdecode_backend
        self.backend_args = backend_args
        self.skip_broken = skip_broken
        self._broken: set[str] = set()

    def _random_canvas(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw the canvas's height and width, the photograph's left and top on it.

        mmdet's Expand draws the same numbers in this order.
        """
        if np.random.uniform(0, 1) > self.expand_prob:
            return height, width, 0, 0
        ratio = np.random.uniform(*self.expand_range)
        left = int(np.random.uniform(0, width * ratio - width))
        top = int(np.random.uniform(0, height * ratio - height))
        return int(height * ratio), int(width * ratio), left, top

    def _squares(self, height: int, width: int) -> Iterator[tuple[int, int, int]]:
        """Draw squares in the photograph's pixels; left and top may be negative."""
        if self.side_choices is not None:
            share = np.random.choice(self.side_choices)
            side = max(1, int(share * min(height, width)))
            while True:
                left, top = (_anywhere(length, side) for length in (width, height))
                yield self._on_grid(left, top, side)
        canvas_height, canvas_width, x, y = self._random_canvas(height, width)
        while True:
            left, top, side = self._random_square(canvas_height, canvas_width)
            yield self._on_grid(left - x, top - y, side)

    def _step(self, side: int) -> int:
        """Side of the blocks: the largest power of 2 that leaves enough pixels."""
        if not self.reduce or side < 2 * self.size:
            return 1
        return 1 << (side // self.size).bit_length() - 1

    def _on_grid(self, left: int, top: int, side: int) -> tuple[int, int, int]:
        """Move and cut the square, by less than a block, to whole blocks."""
        step = self._step(side)
        return left // step * step, top // step * step, side // step * step

    def _read(self, path: str) -> np.ndarray:
        content = fileio.get(path, backend_args=self.backend_args)
        backend = self.imdecode_backend
        image = mmcv.imfrombytes(content, self.color_type, backend=backend)
        if image is None:
            raise ValueError(f'{backend} cannot decode the file')
        return image

    def _report(self, path: str, error: Exception) -> None:
        """Warn of a broken file, once."""
        if path not in self._broken:
            self._broken.add(path)
            print_log(
                f'left out a broken image, number {len(self._broken)} of this process: '
                f'{path} ({type(error).__name__}: {error})',
                logger='current',
                level=logging.WARNING,
            )

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Draw the square and load what is in it.

        For None see ``allow_empty`` and ``skip_broken``.
        """
        try:
            image = self._read(results['img_path'])
        except (OSError, ValueError, cv2.error) as error:
            if not self.skip_broken:
                raise
            self._report(results['img_path'], error)
            return None
        height, width = image.shape[:2]
        square = self._crop_annotation(results, height, width)
        if square is None:
            return None
        left, top, side = square
        step = self._step(side)
        rows = _part(top, side, height, step)
        columns = _part(left, side, width, step)
        x, y = (columns.start - left) // step, (rows.start - top) // step
        results['img'] = _average_blocks(image[rows, columns], step)
        results['img_shape'] = results['img'].shape[:2]
        results['ori_shape'] = (height, width)
        results['scale'] = (self.size, self.size)
        results['scale_factor'] = (1 / step, 1 / step)
        results['part_in_square'] = (x, y, side // step)
        add_homography(results, 1 / step, -columns.start / step, -rows.start / step)
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'].rescale_((1 / step, 1 / step))
            results['gt_bboxes'].translate_([-x, -y])
        return results


def _anywhere(length: int, side: int) -> int:
    """Draw the square's start along one side: inside the photograph, or around it."""
    first, last = sorted((0, length - side))
    return np.random.randint(first, last + 1)


def _part(start: int, side: int, length: int, step: int) -> slice:
    """Find the pixels of a photograph inside a square, along one side.

    Where there are none it is a pixel of the photograph's first or last block: an image
    needs pixels, and PlaceInSquare sees that they lie outside.
    """
    first = min(max(start, 0), (length - 1) // step * step)
    return slice(first, max(min(start + side, length), first + 1))


def _average_blocks(image: np.ndarray, step: int) -> np.ndarray:
    """Average ``step`` x ``step`` pixels; repeat the edge to fill the last blocks."""
    if step == 1:
        return image
    height, width = image.shape[:2]
    below, right = -height % step, -width % step
    image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // step, (height + below) // step)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
