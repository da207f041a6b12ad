"""A detector without trained weights, whose time alone is of interest."""

from collections import Counter

import numpy as np
import torch
from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS
from mmengine.config import Config

from ..evaluation.parity import Detections
from ..model_loader import run_detector
from ..models.cpu.fold_norms import fold_norms
from ..models.cpu.weight_layout import lay_out_weights
from ..models.dense_heads import SRNHead
from .survivors import survivors


def build_untrained(cfg: Config) -> SingleStageDetector:
    """Build a config's SRN with seeded weights, in evaluation mode.

    Args:
        cfg: The config; it loses what its backbone would be initialised with, as random
            weights are as fast.

    Raises:
        ValueError: If it is no config of SRN.
    """
    name = cfg.filename or 'the config'
    if 'model' not in cfg:
        raise ValueError(f'{name} has no model')
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    scope = cfg.get('default_scope', 'mmdet')
    detector = MODELS.build(dict(cfg.model, _scope_=scope))
    detector.init_weights()
    if not isinstance(getattr(detector, 'bbox_head', None), SRNHead):
        raise ValueError(f'the model of {name} has no SRNHead')
    detector.eval()
    return detector


class UntrainedDetector:
    """Takes the time that a trained detector would take.

    Args:
        cfg: The config of an SRN.
        percent: Share of the cells of the first step that survives it, in clusters as
            around faces.

    Attributes:
        count: Cells and those left in all calls, see :func:`.survivors`.
    """

    def __init__(self, cfg: Config, percent: float) -> None:
        self.percent, self.count = percent, Counter()
        self.model = build_untrained(cfg)
        self.model.backbone = fold_norms(self.model.backbone)
        lay_out_weights(self.model)

    def __call__(self, image: np.ndarray) -> Detections:
        """Run it on an image, uint8 (H, W, 3), BGR; what it finds means nothing."""
        with survivors(self.model.bbox_head, self.percent, self.count):
            return run_detector(self.model, [image])[0]
