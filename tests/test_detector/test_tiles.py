"""Tiles against a detector that is always right: white squares in a black picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.deploy.onnx_runner import suppress
from mmdet_srn.detector.tiles import (
    LEAST_IN_WHOLE,
    choose_overlap,
    find_in_tiles,
    make_tiles,
)


def find_squares(images) -> list[tuple[np.ndarray, np.ndarray]]:
    """The bounding boxes of what is white, cut off where the image ends.

    As of a detector, a box in the picture made smaller scores less.
    """
    found = []
    for image in images:
        assert image.flags.c_contiguous
        stats = cv2.connectedComponentsWithStats(image[..., 0], connectivity=8)[2][1:]
        low, size = stats[:, :2], stats[:, 2:4]
        bboxes = np.hstack([low, low + size]).astype(np.float32)
        score = 0.9 if max(image.shape) == 128 else 0.8
        found.append((bboxes, np.full(len(bboxes), score, np.float32)))
    return found


@given(st.integers(65, 3000), st.integers(1, 3000), st.integers(64, 300), st.data())
def test_tiles_cover_a_picture_and_their_cores_share_it(width, height, tile, data):
    overlap = data.draw(st.integers(1, tile // 2))
    tiles = list(make_tiles(width, height, tile, overlap))
    points = np.random.default_rng(0).uniform(0, [width, height], (200, 2))
    owners = np.zeros(len(points), int)
    for each in tiles:
        assert (each.low >= 0).all() and (each.high <= [width, height]).all()
        assert ((each.high - each.low) == np.minimum(tile, [width, height])).all()
        own = (points >= each.core_low) & (points < each.core_high)
        owners += own.all(axis=1)
        # A face up to the overlap is whole in the tile that has its centre.
        inner = (each.low > 0, each.high < [width, height])
        assert (each.core_low - each.low >= overlap / 2)[inner[0]].all()
        assert (each.high - each.core_high >= overlap / 2)[inner[1]].all()
    assert (owners == 1).all()


def test_overlap():
    """What is larger is large enough in the whole picture, made smaller."""
    for long_side, whole in ((12_000, 2048), (12_000, 1280), (3000, 2048)):
        overlap = choose_overlap(long_side, 1280, whole)
        assert overlap * whole / long_side >= LEAST_IN_WHOLE
        assert (overlap - 1) * whole / long_side < LEAST_IN_WHOLE
    assert choose_overlap(12_000, 1280, 2048) == 188
    assert choose_overlap(100_000, 1280, 2048) == 640  # half a tile
    assert choose_overlap(1300, 1280, 2048) == LEAST_IN_WHOLE


@pytest.mark.parametrize('batch_size', [1, 4])
@pytest.mark.parametrize('seed', range(6))
def test_each_square_is_found_once_and_whole(seed, batch_size):
    """Of all sizes, at any place, with those that every tile cuts."""
    rng = np.random.default_rng(seed)
    image = np.zeros((700, 1500, 3), np.uint8)
    squares: list[tuple[int, int, int]] = []
    for size in (400, 250, 130, 70, *[40] * 6, *[8] * 40):
        x, y = rng.integers(0, [1500 - size, 700 - size])
        around = image[max(y - 20, 0) : y + size + 20, max(x - 20, 0) : x + size + 20]
        if not around.any():
            image[y : y + size, x : x + size] = 255
            squares.append((x, y, size))
    bboxes, scores = find_in_tiles(find_squares, image, 128, 256, batch_size)
    order = np.argsort(-scores, kind='stable')
    bboxes = bboxes[order][suppress(bboxes[order], 0.4)]
    wanted = np.array([[x, y, x + size, y + size] for x, y, size in squares])
    sides = wanted[:, 2] - wanted[:, 0]
    assert len(sides) > 20
    # Half a tile is whole in one. Two pixels of the picture made smaller are 12 here.
    distances = np.abs(bboxes[:, None] - wanted).max(axis=2)
    assert ((distances <= np.where(sides <= 64, 0, 12)).sum(axis=0) == 1).all()
    assert (distances.min(axis=1) <= 12).all()
