"""The same detector run by PyTorch, to export it and to compare with it."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from ..checkpoint_file import UnfitError, check_fit, load_checkpoint


def load_detector(
    config: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    cfg_options: Mapping[str, Any] | None = None,
) -> tuple[Config, SingleStageDetector, tuple[str, ...]]:
    """Builds a config's detector with the weights of a checkpoint, on the CPU.

    Args:
        config (str | os.PathLike): The config.
        checkpoint (str | os.PathLike): Its weights.
        cfg_options (Mapping, optional): Settings of the config to replace. Defaults
            to None.

    Returns:
        tuple: The config, the detector in evaluation mode, and the names of the
        classes, from the checkpoint; ('face', ) if it has none.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If they are not a pair.
    """
    cfg = Config.fromfile(os.fspath(config))
    cfg.merge_from_dict(dict(cfg_options or {}))
    if 'model' not in cfg:
        raise ValueError(f'{config} has no model')
    weights = load_checkpoint(checkpoint)
    scope = cfg.get('default_scope', 'mmdet')
    detector = MODELS.build(dict(cfg.model, _scope_=scope))
    try:
        check_fit(detector, weights)
    except UnfitError as error:
        raise ValueError(f'{checkpoint} does not fit {config}: {error}') from error
    state = {
        re.sub(r'^module\.', '', name): value
        for name, value in weights['state_dict'].items()
    }
    # After the check only BatchNorm's counters may be missing.
    detector.load_state_dict(state, strict=False)
    dataset_meta = weights.get('meta', {}).get('dataset_meta') or {}
    classes = dataset_meta.get('classes') or ('face',)
    return cfg, detector.float().eval(), tuple(classes)


def run_detector(
    detector: SingleStageDetector, images: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Runs a detector on images as they are, as one batch.

    Args:
        detector (SingleStageDetector): On the CPU, in evaluation mode.
        images (Sequence[np.ndarray]): uint8 (H, W, 3), BGR, all of one size.

    Returns:
        list[tuple[np.ndarray, np.ndarray]]: For each image boxes (K, 4), float32 xyxy
        in pixels, and scores (K, ), best first.
    """
    samples = []
    for image in images:
        shape = image.shape[:2]
        meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo=meta))
    inputs = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    with torch.no_grad():
        samples = detector.test_step(dict(inputs=inputs, data_samples=samples))
    found = [sample.pred_instances for sample in samples]
    return [(each.bboxes.numpy(), each.scores.numpy()) for each in found]
