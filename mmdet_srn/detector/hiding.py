"""Hides faces: blurred, as a mosaic, or covered."""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from .images import enlarge_boxes

HidingStyle = Literal['blur', 'mosaic', 'box']
STYLES: tuple[str, ...] = get_args(HidingStyle)
# Our choice. The cells' means are all that blur and mosaic leave of a face, so that a
# large one is no clearer than a small one. Cells have some pixels, as else a face of
# six pixels would stay as it is.
CELLS, LEAST_CELL = 6, 4


@dataclass(frozen=True)
class Hiding:
    """How to hide faces.

    Attributes:
        style: 'blur' or 'mosaic', which leave the means of 6 cells along the longer
            side, smooth or sharp; or 'box', black, which leaves nothing.
        margin: Width of the border that is hidden around a box, as a part of its
            longer side. Defaults to 0.2 (our choice).
        ellipse: Hide the ellipse in that area, not all of it; all where it touches the
            image's edge, as the face may go on there. Defaults to False.

    Raises:
        ValueError: If the style is unknown or the margin is not 0 or more.
    """

    style: HidingStyle
    margin: float = 0.2
    ellipse: bool = False

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f'faces are hidden by {", ".join(STYLES)}: {self.style!r}')
        if not 0 <= self.margin < np.inf:
            raise ValueError(f'the margin must be 0 or more, not {self.margin}')

    def __call__(self, image: np.ndarray, bboxes: np.ndarray) -> np.ndarray:
        """Hide what lies in boxes.

        Args:
            image: uint8 (H, W, 3).
            bboxes: (N, 4), xyxy in pixels.

        Returns:
            A copy.
        """
        hidden = image.copy()
        for x1, y1, x2, y2 in enlarge_boxes(bboxes, self.margin, image.shape).tolist():
            if x1 >= x2 or y1 >= y2:
                continue
            area = hidden[y1:y2, x1:x2]
            cover = self._cover(area)
            height, width = area.shape[:2]
            at_edge = 0 in (x1, y1) or (x2 == image.shape[1]) or (y2 == image.shape[0])
            if self.ellipse and not at_edge:
                y, x = np.ogrid[:height, :width]
                x, y = (2 * x + 1 - width) / width, (2 * y + 1 - height) / height
                outside = x**2 + y**2 > 1
                cover[outside] = area[outside]
            area[:] = cover
        return hidden

    def _cover(self, area: np.ndarray) -> np.ndarray:
        if self.style == 'box':
            return np.zeros_like(area)
        height, width = area.shape[:2]
        cell = max(max(height, width) / CELLS, LEAST_CELL)
        cells = (max(int(width / cell), 1), max(int(height / cell), 1))
        means = cv2.resize(area, cells, interpolation=cv2.INTER_AREA)
        smooth = cv2.INTER_LINEAR if self.style == 'blur' else cv2.INTER_NEAREST
        return cv2.resize(means, (width, height), interpolation=smooth)
