"""Which priors lie on boxes that are to be ignored, in bounded memory."""

from collections.abc import Callable

import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D
from torch import Tensor

from .box_index import CHUNK_SIZE, BoxIndex, candidate_rows
from .reach import bounds_hold, covered_reach, iof_reach


def find_ignored(
    priors: Tensor,
    ignored: Tensor,
    iof_thr: float,
    wrt_candidates: bool = True,
    calculator: Callable[..., Tensor] | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> Tensor:
    """Find the priors that mmdet's ``MaxIoUAssigner`` takes out of the matching.

    Args:
        priors (Tensor): Shape (P, 4), xyxy in pixels.
        ignored (Tensor): Boxes to ignore, shape (I, 4).
        iof_thr (float): Intersection over foreground, positive, above which a prior
            is taken out.
        wrt_candidates (bool): Whether the foreground is the prior, as against the
            ignored box. Defaults to True.
        calculator (Callable, optional): What computes the overlaps. Defaults to
            None, ``BboxOverlaps2D``.
        chunk_size (int): Greatest number of pairs at a time. Defaults to 65,536.

    Returns:
        Tensor: Boolean, shape (P, ).
    """
    calculator = calculator or BboxOverlaps2D()
    found = torch.zeros(len(priors), dtype=torch.bool, device=priors.device)
    if not len(priors) or not len(ignored):
        return found
    if not bounds_hold(calculator, priors, ignored):
        places = torch.arange(len(priors), device=priors.device)
        for part in places.split(max(1, chunk_size // len(ignored))):
            if wrt_candidates:
                overlaps = calculator(priors[part], ignored, mode='iof').amax(dim=1)
            else:
                overlaps = calculator(ignored, priors[part], mode='iof').amax(dim=0)
            found[part] = overlaps > iof_thr
        return found
    rows = candidate_rows(priors, ignored)
    if not len(rows):
        return found
    low = ignored.new_full((len(ignored),), iof_thr)
    reach = iof_reach if wrt_candidates else covered_reach
    for box, prior in BoxIndex(priors, rows).search(ignored, low, reach, chunk_size):
        pair = priors.index_select(0, prior), ignored.index_select(0, box)
        foreground, other = pair if wrt_candidates else pair[::-1]
        overlaps = calculator(foreground, other, mode='iof', is_aligned=True)
        found[prior[overlaps > iof_thr]] = True
    return found
