import json
import math
import subprocess
import sys
import weakref

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

import mmdet_srn  # noqa: F401
from mmdet_srn.models.test_time_augs import SRNMultiScaleTest, multi_scale_views
from mmdet_srn.models.test_time_augs.multi_scale_test import View
from tests.reference import multi_scale_reference as reference
from tests.training import ROOT, small_config, write_data_set

# ------------------------------------------------------------------------- views

BIG, SMALL = dict(longer_above=30), dict(shorter_below=100)


def expanded(height, width, max_size):
    """The package's list in the form of the reference's."""
    base, views = multi_scale_views(height, width, max_size)
    names = {
        (-math.inf, math.inf): None,
        (30, math.inf): 'big',
        (-math.inf, 100): 'small',
    }
    return [
        (
            tuple(factor for factor in (base, view.factor) if factor != 1),
            view.flip,
            names[view.longer_above, view.shorter_below],
        )
        for view in views
    ]


@given(
    st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([1, 7, 243, 1400, 2100])
)
@example(1400, 1400, 1400)
@example(1400, 1399, 1400)
@example(1, 1, 2100)
@example(1, 5000, 2100)
@example(1400, 1400, 2100)  # 2.25 exactly
@example(1, 1024, 243)  # 2.25^5 exactly, a logarithm in floats says 4.999...
def test_scales_are_the_references(height, width, max_size):
    found = expanded(height, width, max_size)
    expected = reference.scale_list(height, width, max_size)
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    for (ours, *_), (theirs, *_) in zip(found, expected, strict=True):
        # exactly 1 is no resize
        assert ours == pytest.approx([f for f in theirs if f != 1], rel=1e-14)


def test_small_image():
    # 2100^2 / (600 * 800) = 9.1875, between 2.25^2 and 2.25^3
    base, views = multi_scale_views(600, 800, 2100)
    assert base == 1
    assert views == (
        View(1.0),
        View(1.0, flip=True),
        View(0.5, **BIG),
        View(1.5, **SMALL),
        View(2.25, **SMALL),
        View(math.sqrt(9.1875), **SMALL),
    )


# -------------------------------------------------------------------------- test


class StubDetector(nn.Module):
    """Detects what ``detect`` makes of an image (H, W, 3): rows x1 y1 x2 y2 score."""

    def __init__(self, detect, labels=lambda rows: [0] * len(rows)):
        super().__init__()
        self.detect = detect
        self.labels = labels
        self.calls = []

    def test_step(self, data):
        (image,), (sample,) = data['inputs'], data['data_samples']
        self.calls.append((image.shape, sample.metainfo))
        rows = self.detect(image.permute(1, 2, 0).numpy())
        table = torch.tensor(np.asarray(rows), dtype=torch.float32).reshape(-1, 5)
        sample.pred_instances = InstanceData(
            bboxes=table[:, :4],
            scores=table[:, 4],
            labels=torch.tensor(self.labels(rows), dtype=torch.long),
        )
        return [sample]


def scattered(image):
    """About the same boxes at any scale, and a few that depend on the pixels."""
    height, width = image.shape[:2]
    common = np.random.default_rng(0)
    own = np.random.default_rng(int(image.astype(np.int64).sum()) + height + width)
    size = np.array([width, height, width, height])
    rows = []
    for rng in [common] * 25 + [own] * 5:
        corner, sides = rng.random(2), rng.random(2) * rng.choice([0.1, 0.5])
        box = np.concatenate((corner, corner + sides)) * size + own.normal(size=4)
        box[2:] = np.maximum(box[2:], box[:2])
        # as the model, in single precision
        rows.append(np.float32([*box, own.integers(1, 50) / 50]))
    return rows


def batch(*images, **metainfo):
    """What PackDetInputs and the data loader make of images (H, W, 3)."""
    return dict(
        inputs=[torch.from_numpy(i.transpose(2, 0, 1).copy()) for i in images],
        data_samples=[
            DetDataSample(
                metainfo=dict(
                    ori_shape=i.shape[:2],
                    img_shape=i.shape[:2],
                    scale_factor=(1.0, 1.0),
                    img_path=f'event/{n}.jpg',
                    **metainfo,
                )
            )
            for n, i in enumerate(images)
        ],
    )


def noise(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def rows_of(sample):
    found = sample.pred_instances
    assert found.bboxes.shape == (len(found), 4)
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    assert found.labels.dtype == torch.long
    return np.column_stack((found.bboxes.numpy(), found.scores.numpy()))


@pytest.mark.parametrize(
    ('size', 'max_size'),
    [
        ((31, 45), 160),
        ((301, 203), 160),  # the large branch, sides not whole at any scale
        ((100, 100), 150),  # 2.25 exactly
        ((97, 97), 97),  # as large as may be
        ((333, 71), 5),  # far larger than max_size
        ((1, 1), 20),
        ((1, 37), 30),
        ((37, 1), 8),
        ((2, 900), 3),
    ],
)
def test_is_the_references(size, max_size):
    image = noise(*size)
    for keep in (False, True):
        expected = reference.multi_scale_test(scattered, image, max_size, keep)
        model = SRNMultiScaleTest(StubDetector(scattered), max_size, keep_singles=keep)
        (sample,) = model.test_step(batch(image))
        assert len(expected) >= 5
        np.testing.assert_allclose(rows_of(sample), expected, rtol=1e-6, atol=1e-5)


def test_detector_is_told_the_size_of_the_view():
    detector = StubDetector(scattered)
    model = SRNMultiScaleTest(detector, max_size=160)
    model.test_step(batch(noise(31, 45), img_id=3))
    for shape, meta in detector.calls:
        assert meta['ori_shape'] == meta['img_shape'] == shape[1:]
        assert meta['scale_factor'] == (1.0, 1.0)
        assert (meta['img_id'], meta['img_path']) == (3, 'event/0.jpg')


def test_one_scale_at_a_time():
    """No image of an earlier pass is alive when the next one is looked at."""
    earlier, alive = [], []

    class Watching(StubDetector):
        def test_step(self, data):
            alive.append(sum(ref() is not None for ref in earlier))
            earlier.append(weakref.ref(data['inputs'][0]))
            return super().test_step(data)

    model = SRNMultiScaleTest(Watching(scattered), max_size=200)
    model.test_step(batch(noise(31, 45), noise(250, 210)))
    # views: original, flip, 0.5, 1.5^t for t = 1..4, the largest; then four
    assert alive == [0] * 12


def test_batch_of_unlike_images():
    images = noise(31, 45), noise(80, 33), noise(203, 101)
    model = SRNMultiScaleTest(StubDetector(scattered), max_size=90)
    together = model.test_step(batch(*images))
    for image, sample in zip(images, together, strict=True):
        (alone,) = model.test_step(batch(image))
        np.testing.assert_array_equal(rows_of(sample), rows_of(alone))
    assert [s.img_path for s in together] == [f'event/{n}.jpg' for n in range(3)]
    # default_collate makes one tensor of images of one size
    data = batch(images[0], images[0][::-1])
    expected = [rows_of(s) for s in model.test_step(data)]
    data = dict(data, inputs=torch.stack(data['inputs']))
    for sample, rows in zip(model.test_step(data), expected, strict=True):
        np.testing.assert_array_equal(rows_of(sample), rows)


def test_classes_vote_apart():
    box = (22.0, 3.0, 41.0, 25.0)  # symmetric in 64 pixels: flipping does nothing

    def detect(image):
        scale = image.shape[1] / 64
        near = tuple((x + 0.5) * scale - 0.5 for x in box)
        return [(*near, 0.4), (*near, 0.8), (*near, 0.6)]

    model = SRNMultiScaleTest(
        StubDetector(detect, labels=lambda rows: [2, 0, 2]), max_size=80
    )
    (sample,) = model.test_step(batch(noise(64, 64)))
    found = sample.pred_instances
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_allclose(found.scores, [0.8, 0.6])
    np.testing.assert_allclose(found.bboxes, [box, box], atol=1e-4)
    one = SRNMultiScaleTest(model.module, max_size=80, max_per_img=1)
    (sample,) = one.test_step(batch(noise(64, 64)))
    assert sample.pred_instances.labels.tolist() == [0]


def test_nothing_found():
    model = SRNMultiScaleTest(StubDetector(lambda image: []), max_size=60)
    (sample,) = model.test_step(batch(noise(20, 30)))
    assert rows_of(sample).shape == (0, 5)
    assert sample.pred_instances.labels.shape == (0,)


def test_sample_keeps_what_it_had_and_names_the_protocol():
    data = batch(noise(20, 30), img_id=7)
    faces = InstanceData(bboxes=torch.tensor([[1.0, 2, 3, 4]]))
    data['data_samples'][0].gt_instances = faces
    detector = StubDetector(scattered)
    (sample,) = SRNMultiScaleTest(detector, max_size=60).test_step(data)
    assert (sample.img_id, sample.ori_shape) == (7, (20, 30))
    assert torch.equal(sample.gt_instances.bboxes, faces.bboxes)
    assert sample.protocol == 'ms-60'
    other = SRNMultiScaleTest(detector, max_size=1400, keep_singles=True, iou_thr=0.4)
    assert other.protocol == 'ms-1400, iou_thr=0.4, keep_singles=True'


def test_refuses_an_image_that_is_not_the_original():
    model = SRNMultiScaleTest(StubDetector(scattered), max_size=60)
    data = batch(noise(20, 30))
    with pytest.raises(TypeError, match='without TestTimeAug'):
        model.test_step({key: [value, value] for key, value in data.items()})
    data['data_samples'][0].set_metainfo(dict(ori_shape=(40, 60)))
    with pytest.raises(ValueError, match='60x40, but got it 30x20'):
        model.test_step(data)
    with pytest.raises(ValueError, match='flipped=True'):
        model.test_step(batch(noise(20, 30), flip=True))


@pytest.mark.parametrize('name', ['max_size', 'max_per_img'])
def test_refuses_a_size_of_none(name):
    with pytest.raises(ValueError, match='1 or more'):
        SRNMultiScaleTest(StubDetector(scattered), **{'max_size': 60, name: 0})


# ------------------------------------------------------- with SRN and the runner


def test_stock_tta_switch(tmp_path):
    """tools/test.py --tta, mmdet's own, gives what the model gives alone."""
    root = write_data_set(tmp_path / 'data', [1], num_val=2)
    cfg = small_config('srn_r50_fpn_widerface_ms1400', root, tmp_path / 'run')
    cfg.tta_model.max_size = 72
    cfg.test_evaluator.outfile_prefix = str(tmp_path / 'results')
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'srn.pth')
    cfg.dump(tmp_path / 'config.py')
    subprocess.run(
        [
            *(sys.executable, ROOT / 'tools/test.py', tmp_path / 'config.py'),
            *(tmp_path / 'srn.pth', '--tta'),
        ],
        check=True,
        cwd=ROOT,
    )
    metrics = json.loads((tmp_path / 'results.json').read_text())
    assert metrics['images'] == 2
    wrapped = SRNMultiScaleTest(model.eval(), max_size=72)
    for name in '01':
        image = cv2.imread(str(root / f'WIDER_val/images/0--Noise/{name}.png'))
        with torch.no_grad():
            (sample,) = wrapped.test_step(batch(image))
        written = tmp_path / 'results' / '0--Noise' / f'{name}.txt'
        lines = written.read_text().splitlines()[1:]
        assert int(lines[0]) == len(sample.pred_instances) > 0
        scores = [float(line.split()[4]) for line in lines[1:]]
        assert scores == pytest.approx(sample.pred_instances.scores.tolist(), abs=6e-4)


@pytest.mark.parametrize('max_size', [1400, 2100])
def test_configs(repo_root, max_size):
    cfg = Config.fromfile(repo_root / f'configs/srn_r50_fpn_widerface_ms{max_size}.py')
    released = Config.fromfile(repo_root / 'configs/srn_r50_fpn_widerface_released.py')
    assert cfg.model == released.model
    assert cfg.tta_pipeline == released.test_pipeline
    assert cfg.test_evaluator == dict(released.test_evaluator, box_format='released')
    assert cfg.test_dataloader == released.test_dataloader
    model = MODELS.build(dict(cfg.tta_model, module=StubDetector(scattered)))
    assert model.protocol == f'ms-{max_size}'
