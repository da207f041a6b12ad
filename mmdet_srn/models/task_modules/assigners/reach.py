"""How far apart two boxes can be and still overlap enough.

Each function bounds the distance between the centres along each axis, for boxes of
known sizes. Along an axis, boxes of lengths ``a`` and ``b`` at distance ``d`` share
at most ``(a + b) / 2 - d``, and never more than the shorter length. To overlap
enough they need some area in common. Divided by the most that they can share along
the other axis, it is the length that they must share along this one, which bounds
``d``.
"""

from collections.abc import Callable

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

# farther out, areas could overflow
MAX_COORDINATE = 1e15


def bounds_hold(calculator: Callable[..., Tensor], *boxes: Tensor) -> bool:
    """Tell whether overlaps can be trusted to obey the bounds of this module.

    Args:
        calculator (Callable): What computes them.
        *boxes (Tensor): What it gets, each of shape (N, 4).

    Returns:
        bool: Whether it is mmdet's IoU (or IoF), in float32 or float64, and all
        boxes are finite. Coarser arithmetic goes astray by more than ``BoxIndex``
        allows for.
    """
    return (
        type(calculator) is BboxOverlaps2D
        and calculator.dtype != 'fp16'
        and all(some.dtype in (torch.float32, torch.float64) for some in boxes)
        # false for nan, too
        and all(some.abs().amax() < MAX_COORDINATE for some in boxes if len(some))
    )


def iou_reach(low: Tensor, size: Tensor, smallest: Tensor, largest: Tensor) -> Tensor:
    """Bound the distance at which IoU can be ``low``.

    With areas ``A`` and ``B``, ``IoU >= low`` says that the area in common is at
    least ``low / (1 + low) * (A + B)``.

    Args:
        low (Tensor): IoU to reach, from 0 to 1, shape (K, ).
        size (Tensor): Widths and heights of K boxes, positive, shape (2, K).
        smallest (Tensor): Least width and height in each of G groups of boxes,
            positive, shape (2, G).
        largest (Tensor): Greatest width and height, shape (2, G).

    Returns:
        Tensor: Shape (2, K, G), the greatest distance in x and in y at which a
        box can reach one of the group, negative where none can.
    """
    share = (low / (1 + low))[:, None]
    size, smallest, largest = _pair_up(size, smallest, largest)
    area = size.prod(0)
    # the length that overlaps best, whatever the other one is
    best = torch.maximum(torch.minimum(size, largest), smallest)
    shared = torch.minimum(size, best)
    fits = shared.prod(0) >= share * (best.prod(0) + area)
    best, shared = best.flip(0), shared.flip(0)

    def distance(length: Tensor) -> Tensor:
        return (length + size) / 2 - share * (length * best + area) / shared

    # linear in the length, so one of the ends is best
    reach = torch.maximum(distance(smallest), distance(largest))
    return reach.masked_fill(~fits, -1)


def iof_reach(low: Tensor, size: Tensor, smallest: Tensor, largest: Tensor) -> Tensor:
    """Bound the distance at which a box covers the share ``low`` of a group's.

    Args:
        low (Tensor): Share to reach, positive, shape (K, ).
        size (Tensor): See ``iou_reach``.
        smallest (Tensor): See ``iou_reach``.
        largest (Tensor): See ``iou_reach``.

    Returns:
        Tensor: See ``iou_reach``.
    """
    size, smallest, largest = _pair_up(size, smallest, largest)
    covered = (size / smallest).clamp(max=1)
    share = low[:, None] / covered.flip(0)

    def distance(length: Tensor) -> Tensor:
        return (length + size) / 2 - share * length

    fits = covered.prod(0) >= low[:, None]
    reach = torch.maximum(distance(smallest), distance(largest))
    return reach.masked_fill(~fits, -1)


def covered_reach(
    low: Tensor, size: Tensor, smallest: Tensor, largest: Tensor
) -> Tensor:
    """Bound the distance at which a group's box covers the share ``low`` of a box.

    Args:
        low (Tensor): Share to reach, positive, shape (K, ).
        size (Tensor): See ``iou_reach``.
        smallest (Tensor): See ``iou_reach``.
        largest (Tensor): See ``iou_reach``.

    Returns:
        Tensor: See ``iou_reach``.
    """
    size, smallest, largest = _pair_up(size, smallest, largest)
    covered = (largest / size).clamp(max=1)
    distance = (largest + size) / 2 - low[:, None] * size / covered.flip(0)
    return distance.masked_fill(covered.prod(0) < low[:, None], -1)


def _pair_up(size: Tensor, *limits: Tensor) -> tuple[Tensor, ...]:
    return size[:, :, None], *(limit[:, None] for limit in limits)
