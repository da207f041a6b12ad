"""Load a detector from a config and a checkpoint; the only loader there is."""

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from torch import nn

from .checkpoint_file import load_weights


def read_config(
    config: str | PathLike[str] | Config, cfg_options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config, or copy it, and replace some of its settings.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'no config {config}')
        config = Config.fromfile(config)
    config = copy.deepcopy(config)
    config.merge_from_dict(dict(cfg_options or {}))
    return config


def find_test_pipeline(config: Config) -> list[dict]:
    """Return the test pipeline of a config; of several data sets, the first's.

    Raises:
        ValueError: If it has none.
    """
    try:
        return get_test_pipeline_cfg(config)
    except (RuntimeError, AttributeError) as error:
        name = config.filename or 'the config'
        raise ValueError(f'{name} has no test pipeline ({error})') from error


def load_detector(
    config: str | PathLike[str] | Config,
    checkpoint: str | PathLike[str],
    cfg_options: Mapping[str, Any] | None = None,
    device: str | None = 'cpu',
) -> tuple[Config, nn.Module, tuple[str, ...]]:
    """Build a config's detector with all weights of a checkpoint.

    Args:
        config: The config, or its file.
        checkpoint: File of its weights.
        cfg_options: Settings of the config to replace.
        device: Such as 'cuda:0'; None: a GPU if there is one.

    Returns:
        The config, the detector in evaluation mode, and the names of the classes, from
        the checkpoint; ('face',) if it has none.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If the two do not fit, a file is damaged or unsafe, or the device
            cannot be used.
    """
    cfg = read_config(config, cfg_options)
    name = cfg.filename or 'the config'
    if 'model' not in cfg:
        raise ValueError(f'{name} has no model')
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'no checkpoint {checkpoint}')
    check_device(device)
    scope = cfg.get('default_scope', 'mmdet')
    detector = revert_sync_batchnorm(MODELS.build(dict(cfg.model, _scope_=scope)))
    weights = load_weights(detector, checkpoint, name)
    dataset_meta = (weights.get('meta') or {}).get('dataset_meta') or {}
    classes = dataset_meta.get('classes') or ('face',)
    detector = detector.float().to(get_device() if device is None else device)
    detector.eval()  # returns None in mmdet's distillation
    return cfg, detector, tuple(classes)


def check_device(device: str | None) -> None:
    """Raise a ValueError if torch cannot use a device; None is its default."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'device {device!r} cannot be used ({reason})') from error


def run_detector(
    detector: nn.Module, images: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Run a detector on images as they are, without a pipeline, as one batch.

    Args:
        detector: In evaluation mode.
        images: uint8 (H, W, 3), BGR, all of one size.

    Returns:
        For each image boxes (K, 4), float32 xyxy in pixels, and scores (K,), best
        first.
    """
    samples = []
    for image in images:
        shape = image.shape[:2]
        meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo=meta))
    inputs = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    return predict(detector, dict(inputs=inputs, data_samples=samples))


def predict(detector: nn.Module, data: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    """Run a detector's test step on collated data; boxes and scores of each image."""
    with torch.no_grad():
        found = [sample.pred_instances for sample in detector.test_step(data)]
    return [(each.bboxes.cpu().numpy(), each.scores.cpu().numpy()) for each in found]
