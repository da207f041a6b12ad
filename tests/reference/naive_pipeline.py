"""The training augmentation in its naive order, and photographs to run it on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope

import mmdet_srn  # noqa: F401


def build(*steps: dict) -> list:
    """Build transforms of mmdet or of this package."""
    init_default_scope('mmdet')
    return [TRANSFORMS.build(step) for step in steps]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A bluish image without black, brighter to the right, with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 160, (3, 4, 3), np.uint8)
    image = cv2.resize(coarse, (width, height)).astype(int)
    image += rng.integers(-20, 21, image.shape)
    image += np.linspace(0, 75, width).astype(int)[:, None]
    image = image * (1, 0.8, 0.5)
    return image.clip(1, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray, *options: int) -> str:
    """Write an image, by default JPEG at OpenCV's quality of 95."""
    assert cv2.imwrite(str(path), image, options)
    return str(path)


def info(path: str, boxes: Sequence = (), flags: Sequence | None = None) -> dict:
    """What a data set tells of an image; faces are labelled in their order."""
    flags = [0] * len(boxes) if flags is None else flags
    faces = [
        dict(bbox=list(map(float, box)), bbox_label=number, ignore_flag=int(flag))
        for number, (box, flag) in enumerate(zip(boxes, flags, strict=True))
    ]
    return dict(img_path=path, img_id='image', instances=faces)


def run(steps: Sequence, results: dict, seeds: dict[str, int]) -> dict:
    """Run transforms, each named one from a random state of its own."""
    for step in steps:
        if (name := type(step).__name__) in seeds:
            np.random.seed(seeds[name])
        results = step(results)
        assert results is not None
    return results


def naive_order(
    size: int,
    expand: tuple[float, float] = (1, 2),
    expand_prob: float = 0.5,
    flip: dict[str, Any] | None = None,
    **crop: Any,
) -> list[dict]:
    """The paper's augmentation in its own order, with stock steps but for the crop."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PhotoMetricDistortion'),
        dict(type='Expand', mean=(0, 0, 0), ratio_range=expand, prob=expand_prob),
        dict(type='RandomSquareCrop', **crop),
        dict(type='RandomFlip', **(flip or dict(prob=0.5))),
        dict(type='Resize', scale=(size, size), keep_ratio=False),
    ]


def decided_first(
    size: int,
    expand: tuple[float, float] = (1, 2),
    expand_prob: float = 0.5,
    flip: dict[str, Any] | None = None,
    dtype: str = 'float32',
    **crop: Any,
) -> list[dict]:
    """The same with the crop decided first."""
    return [
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            type='LoadSquareCrop',
            size=size,
            expand_range=expand,
            expand_prob=expand_prob,
            **crop,
        ),
        dict(type='PhotoMetricDistortion'),
        dict(type='RandomFlip', **(flip or dict(prob=0.5))),
        dict(type='PlaceInSquare', dtype=dtype),
    ]
