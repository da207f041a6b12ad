"""What test_cfg says about which boxes are kept, as far as a graph can do it."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Selection(NamedTuple):
    """Which boxes are kept.

    Attributes:
        score_thr (float): Scores must be above it.
        small_map_cells (int): On a level of fewer cells than that ...
        small_map_score_thr (float): ... scores must be above this one.
        nms_pre (int): Best boxes of each level; all if not positive.
        max_before_nms (int): Best boxes of all levels; all if not positive.
        iou_threshold (float): NMS drops boxes that overlap more than that.
        offset (int): 0 or 1, what NMS adds to the sides of boxes.
        max_per_img (int): Best boxes after NMS.
    """

    score_thr: float
    small_map_cells: int
    small_map_score_thr: float
    nms_pre: int
    max_before_nms: int
    iou_threshold: float
    offset: int
    max_per_img: int

    @classmethod
    def from_test_cfg(cls, test_cfg: Mapping[str, Any]) -> 'Selection':
        """Reads a head's ``test_cfg``.

        Args:
            test_cfg (Mapping): As ``SRNHead`` takes it.

        Returns:
            Selection: What it says.

        Raises:
            ValueError: If it asks for what the graph does not do, so that no file
                silently gives other boxes than the model.
        """
        nms = dict(test_cfg.get('nms') or {})
        iou_threshold = nms.pop('iou_threshold', nms.pop('iou_thr', None))
        kind, offset = nms.pop('type', 'nms'), nms.pop('offset', 0)
        # With one class they change nothing but the way to the result.
        others = set(nms) - {'class_agnostic', 'split_thr'}
        if kind != 'nms' or iou_threshold is None or offset not in (0, 1) or others:
            raise ValueError(
                "an exported graph knows test_cfg.nms=dict(type='nms', "
                f'iou_threshold=..., offset=0 or 1), not {test_cfg.get("nms")}'
            )
        if test_cfg.get('min_bbox_size', -1) > 0:
            raise ValueError(
                'an exported graph knows no test_cfg.min_bbox_size, got '
                f'{test_cfg["min_bbox_size"]}'
            )
        if test_cfg.get('max_per_img', 0) <= 0:
            raise ValueError(
                'an exported graph needs a positive test_cfg.max_per_img, got '
                f'{test_cfg.get("max_per_img")}'
            )
        score_thr = test_cfg.get('score_thr', 0)
        return cls(
            score_thr=float(score_thr),
            small_map_cells=int(test_cfg.get('small_map_cells', 0)),
            small_map_score_thr=float(test_cfg.get('small_map_score_thr', score_thr)),
            nms_pre=int(test_cfg.get('nms_pre', -1)),
            max_before_nms=int(test_cfg.get('max_before_nms', -1)),
            iou_threshold=float(iou_threshold),
            offset=int(offset),
            max_per_img=int(test_cfg['max_per_img']),
        )
