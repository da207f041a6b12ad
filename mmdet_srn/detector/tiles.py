"""Small faces in huge pictures: overlapping tiles beside the whole, as SAHI does it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeAlias

import numpy as np

from .images import limit_size, rescale_boxes

#: Boxes (N, 4), xyxy in pixels, and scores (N,), of each image.
Found: TypeAlias = list[tuple[np.ndarray, np.ndarray]]

#: Pixels at which a face that no tile must hold is shown in the whole (our choice).
LEAST_IN_WHOLE = 32


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of a picture; corners and sizes are (x, y) in its pixels.

    Attributes:
        low: Its upper left corner.
        high: Its lower right corner.
        core_low: Of the faces, those are taken whose centre is from here ..
        core_high: .. to here: each point of the picture is in the core of one tile.
        size: Width and height of the picture.
    """

    low: np.ndarray
    high: np.ndarray
    core_low: np.ndarray
    core_high: np.ndarray
    size: np.ndarray

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return the pixels, contiguous."""
        (x1, y1), (x2, y2) = self.low, self.high
        return np.ascontiguousarray(image[y1:y2, x1:x2])

    def select(self, bboxes: np.ndarray, scores: np.ndarray) -> Found:
        """Return the tile's own faces, in pixels of the picture, as a list of one.

        One that touches an edge of the tile within the picture is cut there.
        """
        bboxes = bboxes + np.tile(self.low, 2)
        low, high = bboxes[:, :2], bboxes[:, 2:]
        centre = (low + high) / 2
        own = (centre >= self.core_low) & (centre < self.core_high)
        cut = (low <= self.low + 1) & (self.low > 0)
        cut |= (high >= self.high - 1) & (self.high < self.size)
        keep = (own & ~cut).all(axis=1)
        return [(bboxes[keep], scores[keep])]


def choose_overlap(long_side: int, tile: int, whole: int) -> int:
    """Choose by how many pixels tiles overlap, at least: half a tile at most.

    A face up to this size is whole in the tile that takes it. A larger one may be cut
    in all tiles; it is found in the whole picture, made smaller, where it has
    :data:`LEAST_IN_WHOLE` pixels or more (unless half a tile is less than that).

    Args:
        long_side: Longer side of the picture.
        tile: Side of a tile.
        whole: Longer side of the picture when made smaller.
    """
    return min(math.ceil(LEAST_IN_WHOLE * long_side / min(whole, long_side)), tile // 2)


def make_tiles(width: int, height: int, tile: int, overlap: int) -> Iterator[Tile]:
    """Cover a picture with tiles of one size, evenly spaced."""
    across, down = (_spans(side, tile, overlap) for side in (width, height))
    for y1, y2, core_y1, core_y2 in down:
        for x1, x2, core_x1, core_x2 in across:
            yield Tile(
                np.array([x1, y1]),
                np.array([x2, y2]),
                np.array([core_x1, core_y1]),
                np.array([core_x2, core_y2]),
                np.array([width, height]),
            )


def _spans(side: int, tile: int, overlap: int) -> list[tuple[int, int, float, float]]:
    """Return start and end of each tile along a side, and those of its core."""
    number = max(math.ceil((side - overlap) / (tile - overlap)), 1)
    starts = [round(i * (side - tile) / max(number - 1, 1)) for i in range(number)]
    if number == 1:
        starts, tile = [0], side
    middles = [(before + tile + after) / 2 for before, after in pairwise(starts)]
    cores = pairwise([-math.inf, *middles, math.inf])
    return [
        (start, start + tile, *core) for start, core in zip(starts, cores, strict=True)
    ]


def find_in_tiles(
    detect: Callable[[Sequence[np.ndarray]], Found],
    image: np.ndarray,
    tile: int,
    whole: int,
    batch_size: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Find faces in the tiles of a picture, and in the picture made smaller.

    Args:
        detect: Finds them in images of one size.
        image: The picture, (H, W, 3).
        tile: Side of a tile in pixels.
        whole: Longer side of the picture when made smaller.
        batch_size: Number of tiles at once. Defaults to 1.

    Returns:
        Boxes (N, 4), xyxy in pixels of the picture, and scores (N,); a face that is
        found twice is twice among them, for NMS.
    """
    small = limit_size(image, whole)
    [(bboxes, scores)] = detect([small])
    found = [(rescale_boxes(bboxes, small.shape, image.shape), scores)]
    height, width = image.shape[:2]
    overlap = choose_overlap(max(height, width), tile, whole)
    tiles = make_tiles(width, height, tile, overlap)
    while batch := list(islice(tiles, batch_size)):
        results = detect([each.cut(image) for each in batch])
        for each, (bboxes, scores) in zip(batch, results, strict=True):
            found += each.select(bboxes, scores)
    bboxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return bboxes, scores
