"""A small SRN with all that an export has to get right, and its exported files.

Two steps on levels of two backbone stages and one extra convolution, the pyramid's
bilinear upsampling, RFE, and thresholds that all cut something. The weights are
seeded, and the predictors scaled so that scores and boxes are spread.
"""

import functools
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_srn.__main__ import main
from mmdet_srn.deploy import second_step_nodes
from mmdet_srn.deploy.srn_graph import SRNGraph
from tests.run_once import make_once

REPO = Path(__file__).resolve().parents[2]
CONFIG = f"""
_base_ = '{(REPO / 'configs' / 'srn_r18_face_mosaic.py').as_posix()}'
model = dict(
    backbone=dict(
        base_channels=8, num_stages=2, strides=(1, 2), dilations=(1, 1),
        out_indices=(0, 1)),
    neck=dict(
        in_channels=[8, 16], out_channels=16, extra_channels=(16,)),
    bbox_head=dict(
        in_channels=16, feat_channels=16, norm_cfg=NORM, stc_levels=(0, 1),
        str_levels=(1, 2), theta=0.7,
        anchor_generator=dict(strides=[4, 8, 16])),
    test_cfg=dict(
        score_thr=0.1, small_map_cells=150, small_map_score_thr=0.5,
        nms_pre=120, max_before_nms=130, max_per_img=60, vote_iou_thr=0.4,
        nms=dict(type='nms', iou_threshold=0.3, offset=1)))
"""
#: Takes the exporter long: not in the exported files.
GROUP_NORM = dict(type='GN', num_groups=2, requires_grad=True)
FORMS = ('raw', 'boxes', 'detections')


def images(number: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth noise, so that scores differ from place to place."""
    rng = np.random.default_rng([number, height, width])
    size = (number, height // 6 + 2, width // 6 + 2, 3)
    coarse = rng.integers(0, 256, size, np.uint8)
    return [
        cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        for image in coarse
    ]


def build(config: Path, **test_cfg) -> torch.nn.Module:
    """The detector of a config with seeded weights."""
    cfg = Config.fromfile(config)
    cfg.model.test_cfg.update(test_cfg)
    detector = MODELS.build(dict(cfg.model, _scope_='mmdet')).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in detector.named_parameters():
            if value.ndim > 1:
                value.normal_(std=value[0].numel() ** -0.5, generator=generator)
            elif name.endswith('bias'):
                value.normal_(std=0.1, generator=generator)
        spread_predictions(detector)
    return detector


def spread_predictions(detector: torch.nn.Module) -> None:
    """Gives the predictors' outputs a mean and a deviation on an image."""
    head = detector.bbox_head
    graph = SRNGraph(detector, 'raw')
    outputs = graph(torch.from_numpy(np.stack(images(1, 192, 192))))
    maps = dict(zip(graph.output_names, outputs, strict=True))
    wanted = {
        'first_cls_score': (head.conv_cls_first, -0.8, 1.5),
        'cls_score': (head.conv_cls, -2.0, 2.0),
        'bbox_pred': (head.conv_reg, 0.0, 0.3),
    }
    for name, (layer, mean, deviation) in wanted.items():
        values = torch.cat(
            [m.flatten() for key, m in maps.items() if key.rpartition('_')[0] == name]
        )
        scale = deviation / values.std()
        layer.weight *= scale
        layer.bias.sub_(values.mean()).mul_(scale).add_(mean)


def files(norm: dict | None = None) -> tuple[Path, Path]:
    """Config and checkpoint of the detector, with another norm in the head if asked."""
    folder = make_once(
        'small_gn' if norm else 'small', functools.partial(_write, norm=norm)
    )
    return folder / f'{folder.name}.py', folder / f'{folder.name}.pth'


def _write(folder: Path, norm: dict | None) -> None:
    folder.mkdir()
    config = folder / f'{folder.name}.py'
    config.write_text(CONFIG.replace('NORM', repr(norm)))
    meta = dict(dataset_meta=dict(classes=('face',)))
    content = dict(meta=meta, state_dict=build(config).state_dict())
    torch.save(content, config.with_suffix('.pth'))


@functools.cache
def detector() -> torch.nn.Module:
    """The detector that is exported."""
    return build(files()[0])


def exported(form: str) -> Path:
    """What ``python -m mmdet_srn export`` makes of it; once in a test run.

    Form 'boxes' computes the second step everywhere, and maps this small would always
    be, but for the patch.
    """

    def export(path: Path) -> None:
        arguments = ['export', *map(str, files()), str(path), '--form', form]
        if form == 'boxes':
            arguments += ['--cfg-options', 'model.test_cfg.second_step=dense']
        with mock.patch.object(second_step_nodes, 'SPARSE_COST', (1.0, 0.0)):
            assert main(arguments) == 0

    return make_once(f'{form}.onnx', export)
