"""The package with converted weights is the released network, stage by stage."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from scipy.spatial import cKDTree

import mmdet_srn  # noqa: F401
from mmdet_srn.models.sparse.deferred_map import to_dense
from tests.reference import released_network
from tests.tool_loader import load_tool

REPO = Path(__file__).resolve().parents[2]
SIZES = [(203, 317), (64, 96)]


def read_image(size, seed):
    """BGR, uint8: patches of 16 pixels with noise."""
    rng = np.random.default_rng([seed, *size])
    patches = rng.integers(0, 256, (size[0] // 16 + 2, size[1] // 16 + 2, 3))
    smooth = cv2.resize(patches.astype(np.float32), size[::-1])
    noisy = smooth + rng.normal(0, 10, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def batch(images):
    """As the data loader hands them to the model."""
    meta = [dict(img_shape=i.shape[:2], ori_shape=i.shape[:2]) for i in images]
    return dict(
        inputs=[torch.from_numpy(i.transpose(2, 0, 1).copy()) for i in images],
        data_samples=[
            DetDataSample(metainfo=dict(m, scale_factor=(1.0, 1.0))) for m in meta
        ],
    )


@pytest.fixture(scope='module')
def reference():
    network = released_network.ReleasedSRN()
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict(released_network.seeded_values(shapes))
    return network.eval()


@pytest.fixture(scope='module')
def detector(reference):
    cfg = Config.fromfile(REPO / 'configs' / 'srn_r50_fpn_widerface_released.py')
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    convert = load_tool('convert_srn_official').convert
    model.load_state_dict(convert(reference.state_dict(), model.state_dict()))
    return model.eval()


@pytest.fixture(scope='module', params=SIZES, ids=lambda size: f'{size[0]}x{size[1]}')
def case(request, reference):
    """Two images and what the plain network makes of each."""
    images = [read_image(request.param, seed) for seed in (1, 2)]
    network, dtype = reference, torch.float32
    if request.param == (64, 96):  # the small one in float64, for the rounding
        network, dtype = copy.deepcopy(reference).double(), torch.float64
    with torch.no_grad():
        outputs = [network(released_network.normalise(i).to(dtype)) for i in images]
    return images, outputs


def assert_relative(ours, plain):
    plain = plain.to(ours.dtype)
    atol = 1e-5 * plain.abs().max().item()
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=atol)


def assert_same_detections(boxes, scores, expected_boxes, expected_scores):
    """One to one within 0.01 px and 1e-4, whatever the order of near-equal scores."""
    assert len(boxes) == len(expected_boxes)
    points = np.column_stack([boxes / 0.01, scores / 1e-4])
    expected = np.column_stack([expected_boxes / 0.01, expected_scores / 1e-4])
    distance, nearest = cKDTree(points).query(expected, p=np.inf)
    assert distance.max() < 1
    assert len(set(nearest.tolist())) == len(expected)


def test_parameters_of_the_released_file(shared_data, reference):
    path = shared_data.parent / 'design' / 'released_params.json'
    if not path.is_file():
        pytest.skip(f'needs {path}')
    released = {n: tuple(s) for n, s in json.loads(path.read_text()).items()}
    own = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    assert own == released


def test_parameter_count(reference):
    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert len(reference.state_dict()) == 418
    assert count(reference) == 53_370_698
    assert count(reference.cls_subnet[2]) == 214_016


def test_detector_settings():
    cfg = Config.fromfile(REPO / 'configs' / 'srn_r50_fpn_widerface_released.py')
    # the rest: dense_heads/test_selection.py
    assert cfg.model.test_cfg.nms == dict(type='nms', iou_threshold=0.4, offset=1)
    assert cfg.model.test_cfg.max_per_img == 750
    assert cfg.model.data_preprocessor.pad_size_divisor == 1
    assert cfg.test_dataloader.batch_size == 1
    assert cfg.model.bbox_head.share_cls_predictor is False
    # apart from the inference it is the base
    base = Config.fromfile(REPO / 'configs' / 'srn_r50_fpn_widerface.py')
    own, base = cfg.to_dict(), base.to_dict()
    del own['model']['test_cfg'], base['model']['test_cfg']
    assert own == base


def test_every_stage(detector, case):
    images, plain = case
    with torch.no_grad():
        data = detector.data_preprocessor(batch(images))
        maps = [to_dense(m) for m in detector.extract_feat(data['inputs'])]
        first_cls, first_reg, cls, reg = detector.bbox_head(maps)
    stc, str_ = released_network.STC_LEVELS, released_network.STR_LEVELS
    for i, expected in enumerate(plain):
        image = released_network.normalise(images[i])
        assert_relative(data['inputs'][i : i + 1], image)
        for ours, theirs in (
            (maps[:6], expected.first_maps),
            (maps[6:], expected.second_maps),
            (first_cls, [expected.first_cls[level] for level in stc]),
            (first_reg, [expected.first_reg[level] for level in str_]),
            (cls, expected.cls),
            (reg, expected.reg),
        ):
            for a, b in zip(ours, theirs, strict=True):
                assert_relative(a[i : i + 1], b)


def test_detections(detector, case):
    images, plain = case
    with torch.no_grad():
        results = detector.test_step(batch(images))
    for image, outputs, result in zip(images, plain, results, strict=True):
        expected = released_network.detect(outputs, 0)
        # no decision hangs on a rounding, and each of the rules decides something
        assert expected.margins['first'] > 3e-7
        assert expected.margins['score'] > 2e-6
        assert expected.margins['overlap'] > 2e-6
        assert expected.margins['top'] > 2e-6
        assert 0.2 < expected.dropped < 0.8
        assert len(expected.scores) > 100
        found = result.pred_instances
        assert not found.labels.any()
        assert (found.scores.diff() <= 0).all()
        assert_same_detections(
            found.bboxes.double().numpy(),
            found.scores.double().numpy(),
            expected.boxes,
            expected.scores,
        )
        height, width = image.shape[:2]
        inside = (found.bboxes.min() >= 0) & (
            found.bboxes.max(0).values[2:] <= torch.tensor([width, height])
        ).all()
        assert not inside  # boxes are not clipped
        if (height, width) == (64, 96):
            assert (found.scores < 0.05).any()  # the small maps' threshold
        else:
            assert len(found) == 750
