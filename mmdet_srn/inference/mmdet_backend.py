"""A config and a checkpoint, run by mmdet."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.datasets.transforms import InferencerLoader
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import nn

from ..checkpoint_file import UnfitError, check_fit, load_checkpoint
from ..model_loader import check_device
from ..models.cpu.fold_norms import fold_norms, modules_with_backbone
from ..models.cpu.weight_layout import lay_out_weights
from .after_fork import use_one_thread_after_fork
from .images import read_image, run_pipeline


class MMDetBackend:
    """Runs a detector of one class on images.

    Args:
        config: Config, or its file.
        checkpoint: File of the weights.
        device: Such as 'cpu' or 'cuda:0'; None: a GPU if there is one.
        max_faces: How many faces the model has to be able to give. Defaults to None:
            as many as its config says.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If the config is none of a detector, the checkpoint is damaged or
            does not fit the config, there are more classes than the face, or the
            device is not to be had.
    """

    def __init__(
        self,
        config: str | PathLike[str] | Config,
        checkpoint: str | PathLike[str],
        device: str | None = None,
        max_faces: int | None = None,
    ) -> None:
        if not isinstance(config, Config):
            if not Path(config).is_file():
                raise FileNotFoundError(f'no config {config}')
            config = Config.fromfile(config)
        self.name = config.filename or 'the config'
        if 'model' not in config or 'test_dataloader' not in config:
            raise ValueError(f'{self.name} has no model and test_dataloader')
        if max_faces is not None:
            config = _with_max_faces(config, max_faces, self.name)
        self._config = config
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(f'no checkpoint {checkpoint}')
        check_device(device)
        weights = load_checkpoint(checkpoint)
        try:
            self._inferencer = _StrictInferencer(config, weights, device)
        except UnfitError as error:
            raise ValueError(
                f'{checkpoint} does not fit {self.name}: {error}'
            ) from error
        numbers = {
            module.num_classes
            for module in self._inferencer.model.modules()
            if isinstance(getattr(module, 'num_classes', None), int)
        }
        if max(numbers, default=1) > 1:
            raise ValueError(f'{self.name} is for {max(numbers)} classes, not for one')
        for module in modules_with_backbone(self._inferencer.model):
            module.backbone = fold_norms(module.backbone)
        lay_out_weights(self._inferencer.model)
        use_one_thread_after_fork()

    @property
    def has_multi_scale(self) -> bool:
        """Whether the config has a multi-scale test."""
        return self._config.get('tta_model') is not None

    def max_faces(self, multi_scale: bool = False) -> int | None:
        """How many faces the model gives at most; None if there is no limit."""
        if multi_scale:
            owner = self._multi_scale[0]
            number = getattr(owner, 'max_per_img', None) or -1
        else:
            number = _selection(self._config).get('max_per_img', -1)
        return number if number > 0 else None

    def read(self, path: Path) -> np.ndarray:
        """Reads an image file with the decoder that the config's pipeline names."""
        loader = next(
            step.from_file
            for step in self._inferencer.pipeline.transforms
            if isinstance(step, InferencerLoader)
        )
        return read_image(path, loader.color_type, loader.imdecode_backend)

    def __call__(
        self, images: Sequence[np.ndarray], multi_scale: bool = False
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Detects on images of one size, as one batch.

        Args:
            images: Uint8 (H, W, 3), BGR; all of one size, so that none is padded.
            multi_scale: Whether to run the config's multi-scale test, in which each
                image is a batch of its own. Defaults to False.

        Returns:
            For each image boxes (N, 4), xyxy in its pixels, and scores (N,).

        Raises:
            ImageError: If the pipeline cannot take an image of that size.
        """
        model, pipeline = self._inferencer.model, self._inferencer.pipeline
        batches = [list(images)]
        if multi_scale:
            model, pipeline = self._multi_scale
            batches = [[image] for image in images]
        found = []
        for batch in batches:
            # img_id and instances: what a data set has and meta_keys may name.
            packed = [
                run_pipeline(pipeline, dict(img=image, img_id=0, instances=[]))
                for image in batch
            ]
            with torch.no_grad():
                found += model.test_step(self._inferencer.collate_fn(packed))
        return [
            (
                sample.pred_instances.bboxes.cpu().numpy(),
                sample.pred_instances.scores.cpu().numpy(),
            )
            for sample in found
        ]

    @cached_property
    def _multi_scale(self) -> tuple[nn.Module, Compose]:
        """The test-time augmentation around the model, and its pipeline."""
        model, cfg = self._inferencer.model, deepcopy(self._config)
        augmented = MODELS.build({**cfg.tta_model, 'module': model})
        if cfg.get('tta_pipeline') is not None:
            cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        device = next(model.parameters()).device
        return augmented.to(device).eval(), self._inferencer._init_pipeline(cfg)


def _selection(config: Config) -> dict[str, Any]:
    """What says how many boxes an image may have: the last stage's test_cfg."""
    test_cfg = config.model.get('test_cfg') or {}
    return test_cfg.get('rcnn') or test_cfg


def _with_max_faces(config: Config, max_faces: int, name: str) -> Config:
    """The config with limits that are raised where need be, never lowered.

    A greater one also lets as many more candidates into NMS: SRN's 2,000 are too few
    for 1,900 faces. A lower one would spoil the vote of the multi-scale test.
    """
    config = deepcopy(config)
    selection = _selection(config)
    if 'max_per_img' not in selection:
        raise ValueError(f'{name} has no test_cfg.max_per_img for max_faces to set')
    before = selection['max_per_img']
    if 0 < before < max_faces:
        selection['max_per_img'] = max_faces
        for key in ('nms_pre', 'max_before_nms'):
            if selection.get(key, -1) > 0:
                selection[key] = -(-selection[key] * max_faces // before)
    if (augmented := config.get('tta_model')) is not None:
        owner = augmented.get('tta_cfg', augmented)
        owner['max_per_img'] = max(owner.get('max_per_img', 750), max_faces)
    return config


class _StrictInferencer(DetInferencer):
    """mmdet's inferencer, with all weights or none, and without a visualizer.

    Model, pipeline (that of the test, for arrays) and collate function are used; its
    call is not, as it pads images to one size and keeps all results.
    """

    def __init__(
        self, config: Config, weights: Mapping[str, Any], device: str | None
    ) -> None:
        self._weights = weights
        # With a palette (any will do) it does not build the test data set.
        super().__init__(config, device=device, palette='random', show_progress=False)
        del self._weights  # the optimizer's state is larger than the model

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: None, cfg: Config
    ) -> None:
        check_fit(model, self._weights)
        named = dict(meta=dict(dataset_meta=dict(classes=('face',))))
        super()._load_weights_to_model(model, {**self._weights, **named}, cfg)

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate  # the default; looked up by name, mmengine warns

    def _init_visualizer(self, cfg: Config) -> None:
        """Makes none: it would stay among the process's global instances."""
