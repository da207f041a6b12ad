"""A config and a checkpoint, run by mmdet."""

import functools
import os
from collections.abc import Sequence
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn

from ..model_loader import find_test_pipeline, load_detector, predict, read_config
from ..models.cpu.fold_norms import fold_norms, modules_with_backbone
from ..models.cpu.weight_layout import lay_out_weights
from .images import read_image, report_as_image_error

#: Compiled operators that oneDNN keeps; by default 1024. An image of another size needs
#: some 30 more. After 160 sizes 224 MB of the heap were in use, 250 with the default.
ONEDNN_PRIMITIVES = 128


class MMDetBackend:
    """Runs a one-class detector on images; for the arguments see ``FaceDetector``."""

    def __init__(
        self,
        config: str | PathLike[str] | Config,
        checkpoint: str | PathLike[str],
        device: str | None = None,
        max_faces: int | None = None,
        threads: int | None = None,
    ) -> None:
        # oneDNN reads it once, when it first computes in this process.
        os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', str(ONEDNN_PRIMITIVES))
        if threads is not None:
            torch.set_num_threads(threads)
        config = read_config(config)
        self.name = config.filename or 'the config'
        if 'model' not in config or 'test_dataloader' not in config:
            raise ValueError(f'{self.name} has no model and test_dataloader')
        if max_faces is not None:
            _raise_limits(config, max_faces, self.name)
        self.config, self.model, _ = load_detector(config, checkpoint, device=device)
        sizes = [getattr(each, 'num_classes', None) for each in self.model.modules()]
        classes = max((size for size in sizes if isinstance(size, int)), default=1)
        if classes > 1:
            raise ValueError(f'{self.name} is for {classes} classes, not for one')
        for module in modules_with_backbone(self.model):
            module.backbone = fold_norms(module.backbone)
        lay_out_weights(self.model)
        self._scope = config.get('default_scope', 'mmdet')
        steps = find_test_pipeline(config)
        self._pipeline, self._loader = self._build_pipeline(steps)
        use_one_thread_after_fork()

    @property
    def iou_threshold(self) -> float:
        """The IoU above which the model's NMS drops a box."""
        return _selection(self.config).get('nms', {}).get('iou_threshold', 0.5)

    @property
    def has_multi_scale(self) -> bool:
        """Whether the config has a multi-scale test."""
        return self.config.get('tta_model') is not None

    def max_faces(self, multi_scale: bool = False) -> int | None:
        """Return how many faces the model gives at most; None if there is no limit."""
        if multi_scale:
            number = getattr(self._multi_scale[0], 'max_per_img', None) or -1
        else:
            number = _selection(self.config).get('max_per_img', -1)
        return number if number > 0 else None

    def read(self, source: Path | bytes) -> np.ndarray:
        """Read an image file, or its content, with the config's decoder."""
        flag = self._loader.get('color_type', 'color')
        return read_image(source, flag, self._loader.get('imdecode_backend', 'cv2'))

    def __call__(
        self, images: Sequence[np.ndarray], multi_scale: bool = False
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Detect on images of one size, as one batch.

        Args:
            images: uint8 (H, W, 3), BGR, all of one size, so that none is padded.
            multi_scale: Run the config's multi-scale test, in which each image is a
                batch of its own. Defaults to False.

        Returns:
            For each image boxes (N, 4), xyxy in its pixels, and scores (N,).
        """
        model, pipeline = self.model, self._pipeline
        batches = [list(images)]
        if multi_scale:
            model, pipeline = self._multi_scale
            batches = [[image] for image in images]
        found = []
        for batch in batches:
            with report_as_image_error(batch[0]):
                # meta_keys may name img_id and instances, which a data set provides.
                packed = [
                    pipeline(dict(img=image, img_id=0, instances=[])) for image in batch
                ]
            found += predict(model, pseudo_collate(packed))
        return found

    @functools.cached_property
    def _multi_scale(self) -> tuple[nn.Module, Compose]:
        """The test-time augmentation around the model, and its pipeline."""
        cfg = deepcopy(self.config)
        scoped = dict(cfg.tta_model, module=self.model, _scope_=self._scope)
        device = next(self.model.parameters()).device
        steps = cfg.get('tta_pipeline') or find_test_pipeline(cfg)
        pipeline, _ = self._build_pipeline(steps)
        return MODELS.build(scoped).to(device).eval(), pipeline

    def _build_pipeline(self, steps: list[dict]) -> tuple[Compose, dict]:
        """Build a pipeline that takes arrays; also return its loading step."""
        steps = [dict(step) for step in steps]
        for step in steps:
            kind = step['type']
            kind = kind if isinstance(kind, str) else kind.__name__
            if kind.split('.')[-1] == 'LoadImageFromFile':
                step['type'] = 'mmdet.LoadImageFromNDArray'
                with DefaultScope.overwrite_default_scope(self._scope):
                    return Compose(steps), step
        raise ValueError(f'{self.name}: LoadImageFromFile is not in the pipeline')


def _selection(config: Config) -> dict[str, Any]:
    """Return the last stage's test_cfg, which limits the boxes of an image."""
    test_cfg = config.model.get('test_cfg') or {}
    return test_cfg.get('rcnn') or test_cfg


def _raise_limits(config: Config, max_faces: int, name: str) -> None:
    """Raise a config's limits to a number of faces; never lower them.

    More faces need more candidates before NMS: SRN's 2,000 are too few for 1,900 faces.
    A lower limit would spoil the vote of the multi-scale test.
    """
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


@functools.cache
def use_one_thread_after_fork() -> None:
    """Make PyTorch use one thread in children that os.fork makes from now on.

    OpenMP's threads are not forked, so a child that waits for them hangs. torch's
    DataLoader does the same in its workers.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
