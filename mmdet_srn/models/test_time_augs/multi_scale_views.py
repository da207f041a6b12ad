"""Which scales of an image SRN's multi-scale test looks at."""

import math
from typing import NamedTuple

# Released code. Sides are in pixels of the original image, with +1.
MIN_LONGER_SIDE = 30
MAX_SHORTER_SIDE = 100


class View(NamedTuple):
    """One pass of the detector.

    Attributes:
        factor: By how much the base image is resized.
        flip: Whether it is then mirrored left to right.
        longer_above: Only boxes with ``longer side + 1`` above it count, in pixels
            of the original image.
        shorter_below: Only boxes with ``shorter side + 1`` below it count, in
            pixels of the original image.
    """

    factor: float
    flip: bool = False
    longer_above: float = -math.inf
    shorter_below: float = math.inf


class MultiScaleViews(NamedTuple):
    """The passes of one image.

    Attributes:
        base: By how much the image is resized to make the base image, 1 or less.
        views: The passes over the base image, in the released code's order.
    """

    base: float
    views: tuple[View, ...]


def multi_scale_views(height: int, width: int, max_size: int) -> MultiScaleViews:
    """Lists the scales at which the released code tests an image.

    With M = ``max_size``, an image of fewer than M * M pixels is seen

    - as it is, and mirrored;
    - at 0.5, for boxes whose longer side + 1 is above 30;
    - at 1.5^t, t = 1..floor(log_2.25(M * M / (height * width))), and at
      sqrt(M * M / (height * width)), for boxes whose shorter side + 1 is below 100.
      If the last two are equal, both are looked at, as in the released code.

    Any other image is resized by r = sqrt(M * M / (height * width)) first, and this
    base image is seen

    - as it is, and mirrored;
    - at 0.75 and 0.5, for boxes whose longer side + 1 is above 30. The released
      code, too, makes them of the resized image, not of the original one.

    Args:
        height: Height of the image in pixels, 1 or more.
        width: Width of the image in pixels, 1 or more.
        max_size: M: no view has many more pixels than M * M. Released: 1400, 2100.

    Returns:
        The passes; at least four.

    Raises:
        ValueError: If an argument is below 1.
    """
    if min(height, width, max_size) < 1:
        raise ValueError(
            f'height, width and max_size must be 1 or more, not {height}, {width}, '
            f'{max_size}'
        )
    pixels, max_pixels = height * width, max_size * max_size
    largest = math.sqrt(max_pixels / pixels)
    views = [View(1.0), View(1.0, flip=True)]
    if pixels >= max_pixels:
        views += [View(f, longer_above=MIN_LONGER_SIDE) for f in (0.75, 0.5)]
        return MultiScaleViews(largest, tuple(views))
    views.append(View(0.5, longer_above=MIN_LONGER_SIDE))
    # Whole numbers: a logarithm in floating point is off at some powers of 2.25.
    t = 1
    while 9**t * pixels <= 4**t * max_pixels:
        views.append(View(1.5**t, shorter_below=MAX_SHORTER_SIDE))
        t += 1
    views.append(View(largest, shorter_below=MAX_SHORTER_SIDE))
    return MultiScaleViews(1.0, tuple(views))
