"""SRN's square crop, decided before the photograph is decoded."""

import mmcv
import numpy as np
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from mmengine import fileio

from .random_square_crop import RandomSquareCrop, add_homography, centres_inside
from .reduced_decoding import (
    JPEG_STEPS,
    average_blocks,
    upright_jpeg_size,
)


@TRANSFORMS.register_module()
class LoadSquareCrop(RandomSquareCrop):
    """Load the part of a photograph that lies in a random square.

    With :class:`PlaceInSquare` it stands for LoadImageFromFile, Expand,
    :class:`RandomSquareCrop` and Resize, and draws the same random numbers in the
    same order: the photograph lies on a black canvas up to twice as wide and high,
    and the square anywhere on that canvas. The canvas is never painted, though::

        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='LoadSquareCrop', size=1024),
        dict(type='PhotoMetricDistortion'),  # or other steps on single pixels
        dict(type='RandomFlip', prob=0.5),
        dict(type='PlaceInSquare'),
        dict(type='PackDetInputs'),

    Between the two, ``img`` is the part of the photograph that the square holds,
    without the black around it, and the boxes are in its pixels, unclipped. Steps
    there may change pixels and flip; they must not resize, move or cut.

    Where the square is at least twice the output's size, 2 x 2 pixels are averaged
    into one before all else, at least four times 4 x 4, and so on, by libjpeg while it
    decodes (up to 8 x 8) or after decoding. The result has never fewer pixels than the
    output. The square then lies on the grid of these blocks, i.e. less than one pixel
    of the output from where it was drawn. Against the naive order this takes less
    time, and the pixels differ: bilinear interpolation looks at four pixels around a
    point, however many the output's pixel covers, so that it aliases; averages do not.
    ``reduce=False`` gives the naive order's pixels exactly. Crops of 1024 from
    WIDER FACE, whose photographs are 1024 pixels wide and expanded to twice that at
    most, are never reduced.

    Images are decoded as mmdet's ``LoadImageFromFile`` does, EXIF orientation
    included.

    Required Keys:

    - img_path
    - gt_bboxes (BaseBoxes or float array (N, 4), pixels xyxy) (optional)
    - gt_bboxes_labels (np.int64) (optional)
    - gt_ignore_flags (bool) (optional)

    Modified Keys: the annotation and

    - img, img_shape: of the part
    - ori_shape: of the photograph
    - scale: width and height for :class:`PlaceInSquare`
    - scale_factor: 1 / pixels averaged on a side
    - homography_matrix
    - part_in_square: left, top and side for :class:`PlaceInSquare`

    Args:
        size: Width and height of the output in pixels: one number, or, as in mmdet's
            ``Resize``, the same one twice.
        expand_range: Smallest and largest size of the canvas over that of the
            photograph, 1 or more. Defaults to (1, 2), the paper's.
        expand_prob: Probability of a canvas that is larger. Defaults to 0.5, as in
            mmdet's SSD; the paper names none.
        ratio_range: See :class:`RandomSquareCrop`, as for the next three.
        full_prob: Probability of the square with the whole shorter side.
        max_tries: How many squares are drawn at most to find one with a face.
        allow_empty: Whether a square without faces is taken if none was found.
        reduce: Whether pixels are averaged as above. Defaults to True: the same or
            better pixels in less time.
        color_type: See mmcv's ``LoadImageFromFile``, as for the next two.
        imdecode_backend: Library that decodes; only 'cv2' reduces while decoding.
        backend_args: Arguments of the file backend.

    Raises:
        ValueError: If the file cannot be decoded.
    """

    _shown: tuple[str, ...] = (
        *('size', 'expand_range', 'expand_prob', 'ratio_range', 'full_prob'),
        *('max_tries', 'allow_empty', 'reduce', 'color_type', 'imdecode_backend'),
        'backend_args',
    )

    def __init__(
        self,
        size: int | tuple[int, int],
        expand_range: tuple[float, float] = (1.0, 2.0),
        expand_prob: float = 0.5,
        ratio_range: tuple[float, float] = (0.5, 1.0),
        full_prob: float = 0.5,
        max_tries: int = 50,
        allow_empty: bool = True,
        reduce: bool = True,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            ratio_range,
            full_prob,
            clip_boxes=False,  # PlaceInSquare does
            max_tries=max_tries,
            allow_empty=allow_empty,
        )
        low, high = expand_range
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1 or min(sides) < 1:
            raise ValueError(f'size must be that of a square in pixels, not {size}')
        if not 1 <= low <= high:
            raise ValueError(f'expand_range must be 1 or more, not {expand_range}')
        if not 0 <= expand_prob <= 1:
            raise ValueError(f'expand_prob must be within [0, 1], not {expand_prob}')
        (self.size,) = sides
        self.expand_range = (low, high)
        self.expand_prob = expand_prob
        self.reduce = reduce
        self.color_type = color_type
        self.imdecode_backend = imdecode_backend
        self.backend_args = backend_args

    def _random_canvas(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The canvas: its height and width, and the photograph's left and top on it.

        mmdet's Expand draws the same numbers in this order.
        """
        if np.random.uniform(0, 1) > self.expand_prob:
            return height, width, 0, 0
        ratio = np.random.uniform(*self.expand_range)
        left = int(np.random.uniform(0, width * ratio - width))
        top = int(np.random.uniform(0, height * ratio - height))
        return int(height * ratio), int(width * ratio), left, top

    def _draw(self, height: int, width: int, faces: np.ndarray) -> tuple[int, int, int]:
        """The square from the photograph's corner; its left and top may be negative."""
        canvas_height, canvas_width, x, y = self._random_canvas(height, width)
        for _ in range(self.max_tries if len(faces) else 1):
            left, top, side = self._random_square(canvas_height, canvas_width)
            square = self._on_grid(left - x, top - y, side)
            if centres_inside(faces, square).any():
                break
        return square

    def _step(self, side: int) -> int:
        """Pixels to average on a side: the largest power of 2 that leaves enough."""
        if not self.reduce or side < 2 * self.size:
            return 1
        return 1 << (side // self.size).bit_length() - 1

    def _on_grid(self, left: int, top: int, side: int) -> tuple[int, int, int]:
        """The square moved and cut, by less than a block, to whole blocks."""
        step = self._step(side)
        return left // step * step, top // step * step, side // step * step

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Draw the square, load what lies in it.

        Args:
            results: The pipeline's dict.

        Returns:
            The same dict, or None, see ``allow_empty``.
        """
        content = fileio.get(results['img_path'], backend_args=self.backend_args)
        image = None
        size = self._size_before_decoding(content)
        if size is None:
            image = self._decode(content)
            size = image.shape[:2]
        square = self._crop_annotation(results, *size)
        if square is None:
            return None
        left, top, side = square
        step = self._step(side)
        decoded = 1  # pixels already averaged
        if image is None:
            decoded = min(step, max(JPEG_STEPS))
            image = self._decode(content, decoded)
            if image.shape[:2] != tuple(-(-length // decoded) for length in size):
                raise ValueError(
                    f'the header tells height and width {size}, decoding by '
                    f'1/{decoded} gives {image.shape[:2]}'
                )
        rows = _part(top, side, size[0], step)
        columns = _part(left, side, size[1], step)
        part = image[_divide(rows, decoded), _divide(columns, decoded)]
        part = average_blocks(part, step // decoded)

        results['img'] = part
        results['img_shape'] = part.shape[:2]
        results['ori_shape'] = size
        results['scale'] = (self.size, self.size)
        results['scale_factor'] = (1 / step, 1 / step)
        x, y = (columns.start - left) // step, (rows.start - top) // step
        results['part_in_square'] = (x, y, side // step)
        add_homography(results, 1 / step, -columns.start / step, -rows.start / step)
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'].rescale_((1 / step, 1 / step))
            results['gt_bboxes'].translate_([-x, -y])
        return results

    def _size_before_decoding(self, content: bytes) -> tuple[int, int] | None:
        """Height and width, where knowing them early is of use."""
        if self.reduce and (self.color_type, self.imdecode_backend) == ('color', 'cv2'):
            return upright_jpeg_size(content)
        return None

    def _decode(self, content: bytes, step: int = 1) -> np.ndarray:
        """Decode the file, each ``step`` x ``step`` pixels averaged into one."""
        flag = self.color_type if step == 1 else JPEG_STEPS[step]
        image = mmcv.imfrombytes(content, flag=flag, backend=self.imdecode_backend)
        if image is None:
            raise ValueError(f'{self.imdecode_backend} cannot decode the file')
        return image

    def __repr__(self) -> str:
        values = ', '.join(f'{name}={getattr(self, name)!r}' for name in self._shown)
        return f'{self.__class__.__name__}({values})'


def _part(start: int, side: int, length: int, step: int) -> slice:
    """The pixels of a photograph that a square holds, along one side.

    Where the square holds none, the photograph's first or last block: an image needs
    pixels, and PlaceInSquare sees that they lie outside.
    """
    first = min(max(start, 0), (length - 1) // step * step)
    return slice(first, max(min(start + side, length), first + 1))


def _divide(part: slice, step: int) -> slice:
    """The part in an image that is smaller by ``step``; started blocks count."""
    return slice(part.start // step, -(-part.stop // step))
