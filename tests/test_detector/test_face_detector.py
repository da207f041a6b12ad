"""FaceDetector against mmdet's own inferencer, and what it promises beyond that."""

import copy
import gc
import io
import os
import pickle
import sys
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmdet_srn import FaceDetector
from mmdet_srn.detector import FaceDetections, ImageError
from tests.test_detector.constant_onnx import SETTINGS, write_onnx
from tests.test_detector.shown import faces
from tests.test_detector.tiny_model import (
    build,
    change_pipeline,
    load,
    write_checkpoint,
)
from tests.tool_loader import run_light

# What torch may change between one image and a batch.
CLOSE = dict(rtol=1e-4, atol=1e-3)


def assert_finds(detector: FaceDetector, path: Path, stock: DetInferencer) -> None:
    """Not to the bit: mmdet's inferencer does not fold the backbone's norms."""
    sample = stock(str(path), return_datasamples=True)['predictions'][0]
    wanted = sample.pred_instances
    assert len(wanted) > 5 and wanted.scores.std() > 1e-3
    for image in (path, str(path), cv2.imread(str(path))):
        found = detector.detect(image)
        assert found.path == (None if isinstance(image, np.ndarray) else path)
        assert (found.height, found.width) == sample.ori_shape
        for name in ('bboxes', 'scores'):
            ours, theirs = getattr(found, name), wanted[name].numpy()
            np.testing.assert_allclose(ours, theirs, **CLOSE)


def load_both(config: Path, checkpoint: Path) -> tuple[FaceDetector, DetInferencer]:
    options = dict(device='cpu', score_thr=None, clip=False)
    stock = DetInferencer(
        str(config), str(checkpoint), device='cpu', show_progress=False
    )
    return FaceDetector(config, checkpoint, **options), stock


def assert_same(found: FaceDetections, wanted: FaceDetections, **close: float) -> None:
    assert len(found) == len(wanted)
    assert (found.width, found.height) == (wanted.width, wanted.height)
    np.testing.assert_allclose(found.bboxes, wanted.bboxes, **(close or dict(rtol=0)))
    np.testing.assert_allclose(found.scores, wanted.scores, **(close or dict(rtol=0)))


@pytest.fixture(scope='module')
def files(make_image, tmp_path_factory) -> list[Path]:
    """Pictures of three sizes, mixed."""
    sizes = [(64, 96), (96, 64), (64, 96), (50, 50), (96, 64), (64, 96), (50, 50)]
    folder = tmp_path_factory.mktemp('files')
    paths = [folder / f'{i}.png' for i in range(len(sizes))]
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        cv2.imwrite(str(path), make_image(i, *size))
    return paths


@pytest.fixture(scope='module')
def alone(detector, files) -> list[FaceDetections]:
    """What is found in each of them."""
    return [detector.detect(path) for path in files]


# ------------------------------------------------------------ the same as mmdet's


@pytest.mark.parametrize(
    'resize',
    [
        dict(type='Resize', scale_factor=1.0, keep_ratio=True),
        dict(type='Resize', scale=(120, 120), keep_ratio=True),
    ],
)
def test_finds_what_mmdets_inferencer_finds(make_tiny, files, resize):
    detector, stock = load_both(*make_tiny(change_pipeline(f'[1] = {resize}')))
    for path in (files[0], files[1], files[3]):
        assert_finds(detector, path, stock)


def test_result_and_score_thr(tiny, files, detector):
    found = detector.detect(files[0])
    assert found.bboxes.dtype == found.scores.dtype == np.float32
    assert found.bboxes.shape == (len(found), 4) and len(found) > 5
    assert (np.diff(found.scores) <= 0).all() and found.scores.min() >= 0.5
    assert (found.bboxes[:, 2:] > found.bboxes[:, :2]).all()
    assert (found.width, found.height, found.path) == (96, 64, files[0])
    with pytest.raises(AttributeError):
        found.scores = found.scores
    all_of_them = load(*tiny, device='cpu', score_thr=None).detect(files[0])
    np.testing.assert_array_equal(found.bboxes, all_of_them.bboxes[: len(found)])
    assert all_of_them.scores[len(found)] < 0.5
    nothing = FaceDetector(*tiny, device='cpu', score_thr=1).detect(files[0])
    assert (nothing.bboxes.shape, nothing.scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize('multi_scale', [False, True])
def test_max_faces(tiny_multi_scale, make_image, multi_scale):
    image = make_image()

    def detect(message: str | None, **options) -> FaceDetections:
        detector = load(*tiny_multi_scale, device='cpu', clip=False, **options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            found = detector.detect(image, multi_scale=multi_scale)
        said = [str(each.message) for each in caught if 'max_faces' in str(each)]
        assert [message in text for text in said] == [True] * found.limit_reached
        return found

    many = detect('', score_thr=None, max_faces=1000)
    few = detect('an image has 3 faces', score_thr=None, max_faces=3)
    assert len(many) > 40 and not many.limit_reached  # the config has 40
    assert len(few) == 3 and few.limit_reached
    plain = detect('', score_thr=None)
    np.testing.assert_array_equal(few.bboxes, plain.bboxes[:3])
    # Nothing was lost of what was asked for.
    assert not detect('', score_thr=float(plain.scores[1]), max_faces=3).limit_reached


def test_more_faces_take_more_candidates(tiny):
    config = Config.fromfile(tiny[0])
    before = config.model.test_cfg.max_before_nms
    detector = FaceDetector(config, tiny[1], device='cpu', max_faces=400)
    assert detector._backend.config.model.test_cfg.max_before_nms == 10 * before
    assert config.model.test_cfg.max_per_img == 40  # the caller's stays
    del config.model.test_cfg['max_per_img']
    with pytest.raises(ValueError, match='no test_cfg.max_per_img'):
        FaceDetector(config, tiny[1], device='cpu', max_faces=400)
    with pytest.raises(ValueError, match='max_faces must be 1 or more'):
        FaceDetector(*tiny, max_faces=0)


def test_boxes_are_clipped(tiny, make_image):
    options = dict(device='cpu', score_thr=None)
    free, clipping = load(*tiny, clip=False, **options), load(*tiny, **options)
    clipped = 0
    for seed in range(4):
        image = make_image(seed)
        whole, found = free.detect(image), clipping.detect(image)
        inside = np.clip(whole.bboxes, 0, [96, 64, 96, 64])
        kept = (inside[:, 2:] - inside[:, :2] >= 1).all(axis=1)
        np.testing.assert_array_equal(found.bboxes, inside[kept])
        np.testing.assert_array_equal(found.scores, whole.scores[kept])
        for x1, y1, x2, y2 in found.bboxes.astype(int):
            assert image[y1:y2, x1:x2].size
        clipped += (inside != whole.bboxes).sum()
    assert clipped > 5


# --------------------------------------------------------- one, many and streams


def test_one_for_each_in_order(detector, files, alone):
    arrays = tuple(cv2.imread(str(path)) for path in files)
    for images in (files, arrays, [str(files[0]), *arrays[1:]]):
        found = detector.detect(images)
        assert isinstance(found, list)
        for one, wanted in zip(found, alone, strict=True):
            assert_same(one, wanted)
    stream = detector.detect(iter(files))
    assert isinstance(stream, Iterator)
    assert [found.path for found in stream] == files
    assert detector.detect([]) == [] and list(detector.detect(iter([]))) == []


@pytest.mark.parametrize('batch_size', [3, 20])
def test_neighbours_do_not_matter(detector, files, alone, batch_size):
    """Of one size or not: each image gets what it gets alone."""
    for images, wanted in ((iter(files), alone), (files[::-1], alone[::-1])):
        found = list(detector.detect(images, batch_size=batch_size))
        for one, single in zip(found, wanted, strict=True):
            assert_same(one, single, **CLOSE)


def test_content_of_neighbours_does_not_matter_to_the_bit(detector, make_image):
    image, one, other = make_image(0), make_image(1), np.zeros_like(make_image())
    first = detector.detect([image, one], batch_size=2)[0]
    second = detector.detect([image, other], batch_size=2)[0]
    assert_same(first, second)


def test_only_images_of_one_size_are_batched(detector, files, monkeypatch):
    model = detector._backend.model
    shapes = []
    predict = model.test_step

    def spy(data):
        shapes.append([tuple(image.shape[1:]) for image in data['inputs']])
        return predict(data)

    monkeypatch.setattr(model, 'test_step', spy)
    detector.detect(files, batch_size=5)
    assert shapes == [
        *([(64, 96)] * 2, [(96, 64)] * 2, [(50, 50)]),
        *([(64, 96)], [(50, 50)]),
    ]


@pytest.mark.parametrize('batch_size', [1, 3])
@pytest.mark.parametrize('max_size', [None, 40])
def test_streams_hold_no_more_than_a_batch(detector, make_image, batch_size, max_size):
    """Counted: images that are alive while the stream makes the next one."""
    alive: weakref.WeakSet = weakref.WeakSet()
    taken, most = 0, 0

    class Counted(np.ndarray):
        """An array that can be referred to weakly and compared by hash."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def video(number):
        nonlocal taken, most
        for i in range(number):
            taken += 1
            image = make_image(i).view(Counted)
            alive.add(image)
            most = max(most, len(alive))
            yield image
            del image

    given = 0
    gc.disable()
    try:
        for _ in detector.detect(video(10), batch_size=batch_size, max_size=max_size):
            given += 1
            assert taken - given < batch_size
            most = max(most, len(alive))
    finally:
        gc.enable()
    assert given == taken == 10
    assert 1 <= most <= batch_size


def test_a_stream_is_lazy_and_checks_its_arguments_at_once(detector, make_image):
    def broken():
        raise AssertionError('nobody asked for an image')
        yield

    stream = detector.detect(broken())
    with pytest.raises(AssertionError, match='nobody asked'):
        next(stream)
    for name in ('batch_size', 'max_size'):
        with pytest.raises(ValueError, match='batch_size and max_size must be 1'):
            detector.detect(broken(), **{name: 0})
        with pytest.raises(TypeError, match='integer'):
            detector.detect(broken(), **{name: 2.0})
        assert len(detector.detect(make_image(), **{name: np.int64(100)}))


# ------------------------------------------------------------------ kinds of image


def test_channel_order(detector, make_image):
    """The conversion itself: test_images.py."""
    image = make_image()
    wanted = detector.detect(image)
    rgb = image[..., ::-1]
    for found in (
        detector.detect(rgb, channel_order='rgb'),
        detector.detect([rgb], channel_order='rgb')[0],
    ):
        assert_same(found, wanted)
    swapped = detector.detect(rgb)
    assert len(swapped) != len(wanted) or (swapped.scores != wanted.scores).any()
    with pytest.raises(ValueError, match="'bgr' or 'rgb'"):
        detector.detect(image, channel_order='BGR')


def test_any_array(detector, files, make_image):
    """The same faces whatever an image comes as."""
    image, path = cv2.imread(str(files[0])), files[0]
    wanted = detector.detect(image)
    assert len(wanted) > 5
    tensor = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    pillow = Image.open(path)
    content = path.read_bytes()
    contents = [content, bytearray(content), memoryview(content)]
    for each in (tensor, pillow, pillow.convert('RGBA'), *contents):
        found = detector.detect(each)
        assert_same(found, wanted)
        assert found.path is None
    batch = np.stack([image, image[::-1]])
    tensors = torch.stack([tensor, tensor.flip(1)])
    pair = [wanted, detector.detect(image[::-1])]
    for many in (batch, tensors, [pillow, tensors[1]]):
        found = detector.detect(many)
        assert isinstance(found, list) and len(found) == 2
        for one, other in zip(found, pair, strict=True):
            assert_same(one, other)
    assert detector.detect(batch[:0]) == []
    grey = make_image()[..., 0]
    wanted = detector.detect(grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for each in (torch.from_numpy(grey), Image.fromarray(grey), deep):
        assert_same(detector.detect(each), wanted)


def test_min_size(tiny, files):
    """The shorter side in the image as given; the best of the large ones are kept."""
    plain = load(*tiny, device='cpu').detect(files[0])
    sides = (plain.bboxes[:, 2:] - plain.bboxes[:, :2]).min(axis=1)
    least = float(np.median(sides))
    large = sides >= least
    assert 2 < large.sum() < len(plain)
    found = load(*tiny, device='cpu', min_size=least).detect(files[0])
    np.testing.assert_array_equal(found.bboxes, plain.bboxes[large])
    image = cv2.resize(cv2.imread(str(files[0])), None, fx=2, fy=2)
    doubled = load(*tiny, device='cpu', min_size=2 * least)
    plain = load(*tiny, device='cpu').detect(image, max_size=96)
    sides = (plain.bboxes[:, 2:] - plain.bboxes[:, :2]).min(axis=1)
    found = doubled.detect(image, max_size=96)
    np.testing.assert_array_equal(found.bboxes, plain.bboxes[sides >= 2 * least])
    with pytest.warns(UserWarning, match='max_faces'):
        best = load(*tiny, device='cpu', min_size=least, max_faces=2).detect(files[0])
    large = np.flatnonzero(large)
    assert best.limit_reached and len(best) == 2
    wanted = load(*tiny, device='cpu').detect(files[0]).bboxes[large[:2]]
    np.testing.assert_array_equal(best.bboxes, wanted)
    with pytest.raises(ValueError, match='min_size must be 0 or more'):
        FaceDetector(*tiny, min_size=float('nan'))


def test_tiles(detector, make_image, shapes):
    """Of a larger image they are what is found; a smaller one is not cut."""
    image = make_image(0, 100, 150)
    plain = detector.detect(image)
    assert_same(detector.detect(image, tile=150), plain)
    shapes.clear()
    found = detector.detect([image, image[:50, :50]], tile=64, batch_size=4)
    assert sorted(set(shapes)) == [(43, 64), (50, 50), (64, 64)]
    assert (found[0].width, found[0].height) == (150, 100)
    bboxes = found[0].bboxes
    assert len(bboxes) > len(detector.detect(image, max_size=64))
    overlaps = bbox_overlaps(torch.from_numpy(bboxes), torch.from_numpy(bboxes))
    assert overlaps.fill_diagonal_(0).max() <= detector._backend.iou_threshold + 1e-6
    for wrong, error in ((63, ValueError), (64.0, TypeError)):
        with pytest.raises(error):
            detector.detect(image, tile=wrong)


def test_tiles_find_small_faces_in_a_panorama(monkeypatch):
    """Four of 20 pixels in 1,500, with the shipped model."""
    monkeypatch.setenv('MMDET_SRN_LIGHT', '1')
    astronaut = pytest.importorskip('skimage.data').astronaut()[..., ::-1]
    pytest.importorskip('onnxruntime', reason='needs onnxruntime, of the extra onnx')
    face = cv2.resize(astronaut[:256, 64:320], (64, 64), interpolation=cv2.INTER_AREA)
    scene = np.full((192, 1500, 3), 128, np.uint8)
    places = (100, 440, 800, 1160)  # the second and the third on a tile's edge
    for x in places:
        scene[60:124, x : x + 64] = face
    detector = FaceDetector()
    assert len(detector.detect(scene, max_size=192)) == 0
    found = detector.detect(scene, max_size=192, tile=192)
    alone = detector.detect(np.ascontiguousarray(scene[:192, 36:228])).bboxes[0]
    wanted = [alone + (x - 64, 0, x - 64, 0) for x in places]
    order = found.bboxes[:, 0].argsort()
    np.testing.assert_allclose(found.bboxes[order], wanted, atol=8)


def test_supervision(detector, files):
    supervision = pytest.importorskip('supervision')
    found = detector.detect(files[0])
    detections = found.to_supervision()
    np.testing.assert_array_equal(detections.xyxy, found.bboxes)
    np.testing.assert_array_equal(detections.confidence, found.scores)
    assert set(detections.class_id) == {0} and len(detections) == len(found)
    assert set(detections['class_name']) == {'face'}
    merged = supervision.Detections.merge([detections, detections])
    assert len(merged.with_nms(0.9)) == len(found)
    assert len(faces(0).to_supervision()) == 0


def test_supervision_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(ImportError, match='pip install supervision'):
        faces(0).to_supervision()


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (300, 1), (2, 3), (33, 31)])
def test_tiny_and_narrow_images(detector, make_image, size):
    for max_size in (None, 20):
        found = detector.detect(make_image(0, *size), max_size=max_size)
        assert (found.height, found.width) == size
        assert np.isfinite(found.bboxes).all()


def test_max_size(detector, make_image):
    image = make_image(0, 100, 150)
    small = cv2.resize(image, (60, 40), interpolation=cv2.INTER_AREA)
    wanted = detector.detect(small)
    found = detector.detect(image, max_size=60)
    assert len(wanted) and (found.width, found.height) == (150, 100)
    np.testing.assert_allclose(found.bboxes, wanted.bboxes * 2.5, rtol=1e-6)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    assert_same(detector.detect(image, max_size=150), detector.detect(image))


def test_images_that_cannot_be_used(detector, files, tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_text('hello')
    stream = detector.detect(iter([files[0], broken, files[1]]))
    assert next(stream).path == files[0]
    with pytest.raises(ImageError, match=r'broken\.jpg is no image'):
        next(stream)
    with pytest.raises(FileNotFoundError, match=r'absent\.jpg'):
        detector.detect(tmp_path / 'absent.jpg')
    with pytest.raises(IsADirectoryError):
        detector.detect(tmp_path)
    with pytest.raises(ImageError, match='float64'):
        detector.detect(np.zeros((8, 8, 3)))
    for image in (7, None, io.BytesIO(b'a'), dict(a=1)):
        with pytest.raises(TypeError, match='an image is a path, bytes, an array'):
            detector.detect(image)
    with pytest.raises(ImageError, match='given as bytes is no image'):
        detector.detect(b'bytes')
    with pytest.raises(ImageError, match='the tensor is float32, not uint8'):
        detector.detect(torch.zeros(3, 8, 8))
    with pytest.raises(ImageError, match=r'the tensor has shape \(8, 8, 3\), not \(ch'):
        detector.detect(torch.zeros(8, 8, 3, dtype=torch.uint8))
    with pytest.raises(TypeError, match='not int'):
        detector.detect([7])


def test_the_decoder_is_the_configs(make_tiny, tmp_path, detector):
    """A CMYK file, which Pillow and OpenCV turn into different colours."""
    path = tmp_path / 'image.jpg'
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 4), dtype=np.uint8)
    Image.fromarray(pixels, 'CMYK').save(path)
    change = change_pipeline("[0]['imdecode_backend'] = 'pillow'")
    pillow = FaceDetector(*make_tiny(change), device='cpu')
    wanted = np.asarray(Image.open(path).convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(pillow.read(path), wanted)
    assert (detector.read(path) != wanted).any()


# --------------------------------------------------------------------- multi-scale


def test_multi_scale_is_the_configs_tta_model(tiny_multi_scale, make_image):
    options = dict(device='cpu', score_thr=None, clip=False)
    detector = load(*tiny_multi_scale, **options)
    assert detector.has_multi_scale
    images = [make_image(0), make_image(1, 40, 50), make_image(2)]
    found = detector.detect(images, multi_scale=True, batch_size=3)

    module = build(tiny_multi_scale[0])
    tta = MODELS.build(dict(type='SRNMultiScaleTest', max_size=90, module=module))
    for image, one in zip(images, found, strict=True):
        sample = DetDataSample(metainfo=dict(ori_shape=image.shape[:2]))
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
        with torch.no_grad():
            (wanted,) = tta.test_step(dict(inputs=[tensor], data_samples=[sample]))
        assert len(one) > 5
        for name in ('bboxes', 'scores'):
            theirs = wanted.pred_instances[name]
            np.testing.assert_allclose(getattr(one, name), theirs, **CLOSE)
    plain = detector.detect(images)
    assert [len(one) for one in plain] != [len(one) for one in found]


# ------------------------------------------------------------- config and checkpoint


def test_config_objects_stay_as_they_are(tiny, files, detector):
    config = Config.fromfile(tiny[0])
    before = copy.deepcopy(config.to_dict())
    found = FaceDetector(config, str(tiny[1]), device='cpu').detect(files[0])
    assert config.to_dict() == before
    assert_same(found, detector.detect(files[0]))


@pytest.mark.parametrize('kind', ['bare', 'parallel', 'no counters'])
def test_other_forms_of_checkpoint(tiny, files, detector, tmp_path, kind):
    state = torch.load(tiny[1], weights_only=True)['state_dict']
    if kind == 'bare':
        content = state
    elif kind == 'parallel':
        content = dict(state_dict={f'module.{k}': v for k, v in state.items()})
    else:
        kept = {k: v for k, v in state.items() if 'num_batches_tracked' not in k}
        assert len(kept) < len(state)
        content = dict(state_dict=kept)
    path = tmp_path / 'other.pth'
    torch.save(content, path)
    found = FaceDetector(tiny[0], path, device='cpu').detect(files[0])
    assert_same(found, detector.detect(files[0]))


UNFIT = r'does not fit .*tiny\.py: of \d+ tensors, .*'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'hello, world', 'is no PyTorch checkpoint or is damaged'),
        ({'epoch': 3}, 'holds no weights'),
        ({'state_dict': []}, 'holds no weights'),
        # Changes to the weights: names in the head and values, None to drop them.
        (('conv_reg.bias', None), rf'{UNFIT}1 missing, such as .*\.conv_reg\.bias$'),
        (('extra', torch.zeros(3)), rf'{UNFIT}1 unexpected, such as .*\.extra$'),
        (
            ('conv_cls.bias', torch.zeros(5)),
            rf'{UNFIT}of another shape, .* \(5,\), not \(2,\)$',
        ),
    ],
)
def test_checkpoints_that_do_not_fit(tiny, tmp_path, content, message):
    path = tmp_path / 'wrong.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if isinstance(content, tuple):
            state = torch.load(tiny[1], weights_only=True)['state_dict']
            state[f'bbox_head.{content[0]}'] = content[1]
            content = {key: value for key, value in state.items() if value is not None}
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf'wrong\.pth {message}'):
        FaceDetector(tiny[0], path, device='cpu')


def test_missing_files_and_arguments(tiny, tmp_path, repo_root):
    with pytest.raises(FileNotFoundError, match=r'no config .*absent\.py'):
        FaceDetector(tmp_path / 'absent.py', tiny[1])
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*absent\.pth'):
        FaceDetector(tiny[0], tmp_path / 'absent.pth')
    with pytest.raises(FileNotFoundError, match=r'no exported detector .*absent\.onnx'):
        FaceDetector(tmp_path / 'absent.onnx')
    for arguments in ((tiny[0],), (None, tiny[1]), (tiny[0], 'model.onnx')):
        with pytest.raises(ValueError, match='a config and a checkpoint, an .onnx'):
            FaceDetector(*arguments)
    schedule = repo_root / 'configs/_base_/schedules/schedule_130e.py'
    with pytest.raises(ValueError, match='has no model and test_dataloader'):
        FaceDetector(schedule, tiny[1])
    config = Config.fromfile(tiny[0])
    config.test_dataloader.dataset = dict(type='CocoDataset')
    with pytest.raises(ValueError, match='no test pipeline'):
        FaceDetector(config, tiny[1])
    for score_thr in (-0.1, 1.1, float('nan')):
        with pytest.raises(ValueError, match='score_thr must be from 0 to 1'):
            FaceDetector(*tiny, score_thr=score_thr)


def test_norms_are_folded_and_weights_channels_last(tiny):
    """As torch would lay them out on a CPU, in each call."""
    model = FaceDetector(*tiny, device='cpu')._backend.model
    assert any('bn' in name for name in torch.load(tiny[1])['state_dict'])
    kinds = {type(module) for module in model.backbone.modules()}
    assert nn.BatchNorm2d not in kinds and nn.Conv2d in kinds
    for name, weight in model.named_parameters():
        if weight.dim() == 4:
            assert weight.is_contiguous(memory_format=torch.channels_last), name


TWO_STAGES = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
model = dict(
    backbone=dict(depth=18, base_channels=8, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64]),
    roi_head=dict(bbox_head=dict(num_classes=1, fc_out_channels=16)),
    test_cfg=dict(rcnn=dict(score_thr=0.01, max_per_img=20)))
"""


def test_operators_of_mmcv_get_contiguous_maps(tmp_path, files):
    """``RoIAlign`` on a CPU misreads others, and says nothing."""
    config, checkpoint = tmp_path / 'two_stages.py', tmp_path / 'two_stages.pth'
    config.write_text(TWO_STAGES + change_pipeline("[1]['scale'] = (200, 200)"))
    torch.manual_seed(0)
    model = MODELS.build(dict(Config.fromfile(config).model, _scope_='mmdet'))
    model.init_weights()
    nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=3.0)
    write_checkpoint(model, checkpoint)
    detector, stock = load_both(config, checkpoint)
    assert_finds(detector, files[0], stock)


def test_device(tiny):
    with pytest.raises(ValueError, match="device 'nope' cannot be used"):
        FaceDetector(*tiny, device='nope')
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device 'cuda:0' cannot be used \(.+\)"):
            FaceDetector(*tiny, device='cuda:0')
    assert next(FaceDetector(*tiny)._backend.model.parameters()).is_cuda == (
        torch.cuda.is_available()
    )


def test_detector_of_other_things_is_refused(tiny, tmp_path):
    config = Config.fromfile(tiny[0])
    config.model.bbox_head.num_classes = 80
    config.model.backbone.init_cfg = None
    model = MODELS.build(dict(config.model, _scope_='mmdet'))
    checkpoint = write_checkpoint(model, tmp_path / 'many.pth')
    with pytest.raises(ValueError, match='for 80 classes, not for one'):
        FaceDetector(config, checkpoint, device='cpu')


# ---------------------------------------------------------------------------- ONNX


@pytest.fixture
def exported(tmp_path) -> Path:
    """A file like those of tools/deployment/export_onnx.py, whose answers are known.

    It finds one face, the whole image, and scores it by the first pixel's blue. Its
    config's test resizes the image to fit 120x120.
    """
    pytest.importorskip('onnx', reason='needs onnx, of the extra onnx')
    pytest.importorskip('onnxruntime', reason='needs onnxruntime, of the extra onnx')
    graph = """
        known (uint8[N, H, W, 3] images)
        => (float[N, 1, 4] boxes, float[N, 1] scores, int64[N] counts) {
            shape = Shape (images)
            n = Constant <value = int64[1] {0}> ()
            wh = Constant <value = int64[2] {2, 1}> ()
            one = Constant <value = int64[1] {1}> ()
            two = Constant <value = int64[2] {0, 0}> ()
            tail = Constant <value = int64[2] {1, 4}> ()
            axes = Constant <value = int64[3] {1, 2, 3}> ()
            first = Constant <value = int64[3] {0, 0, 0}> ()
            last = Constant <value = int64[3] {1, 1, 1}> ()
            full = Constant <value = float {255}> ()
            batch = Gather (shape, n)
            size = Gather (shape, wh)
            corners = Concat <axis = 0> (two, size)
            box = Cast <to = 1> (corners)
            rows = Concat <axis = 0> (batch, tail)
            boxes = Expand (box, rows)
            blue = Slice (images, first, last, axes)
            level = Cast <to = 1> (blue)
            score = Div (level, full)
            column = Concat <axis = 0> (batch, one)
            scores = Reshape (score, column)
            counts = Expand (one, batch)
        }"""
    resize = [dict(type='Resize', scale=[120, 120], keep_ratio=True)]
    metadata = SETTINGS | dict(max_per_img=1, resize=resize)
    return write_onnx(tmp_path / 'tiny.onnx', graph, metadata)


def blue(level: int, height: int, width: int) -> np.ndarray:
    """An image of one colour."""
    return np.full((height, width, 3), (level, 0, 0), np.uint8)


@pytest.mark.parametrize('batch_size', [1, 4])
@pytest.mark.parametrize('max_size', [None, 30])
def test_exported_file(exported, tmp_path, batch_size, max_size):
    images = [blue(200, 64, 96), blue(150, 96, 64), blue(250, 64, 96), blue(100, 8, 8)]
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), blue(220, 64, 96))
    found = FaceDetector(exported).detect(
        [*images, path], batch_size=batch_size, max_size=max_size
    )
    for one, image in zip(found, [*images, cv2.imread(str(path))], strict=True):
        height, width = image.shape[:2]
        assert (one.height, one.width) == (height, width)
        # In pixels of the image as given, whatever it was resized to.
        wanted = [[0, 0, width, height]] if image[0, 0, 0] >= 128 else []
        np.testing.assert_allclose(one.bboxes, np.reshape(wanted, (-1, 4)), rtol=1e-6)
        np.testing.assert_allclose(one.scores, len(wanted) * [image[0, 0, 0] / 255])
    assert [one.path for one in found] == [None] * 4 + [path]


def test_exported_file_gets_the_image_as_the_config_resizes_it(exported, monkeypatch):
    shapes = []
    detector = FaceDetector(exported)
    runner = detector._backend._runner

    def spy(images):
        shapes.append([image.shape for image in images])
        return runner(images)

    monkeypatch.setattr(detector._backend, '_runner', spy)
    images = [blue(200, 64, 96), blue(200, 30, 10), blue(200, 64, 96)]
    detector.detect(images, batch_size=3)
    assert shapes == [[(80, 120, 3)] * 2, [(120, 40, 3)]]  # one size, one batch
    detector.detect(images[0], channel_order='rgb')
    assert shapes[2:] == [[(80, 120, 3)]]


def test_exported_file_as_checkpoint(exported):
    dim = blue(100, 10, 10)
    assert len(FaceDetector(checkpoint=str(exported)).detect(dim)) == 0
    everything = FaceDetector(checkpoint=exported, device='cpu', score_thr=None)
    assert everything.detect(dim).scores == pytest.approx([100 / 255])


def test_exported_file_in_another_process(exported, monkeypatch):
    """Pickled, as multiprocessing and data loaders do, from another folder."""
    monkeypatch.chdir(exported.parent)
    detector = FaceDetector(exported.name, score_thr=0.1, min_size=3, threads=1)
    assert len(pickle.dumps(detector)) < 5000
    code = """
import pickle, sys
detector, image = pickle.load(sys.stdin.buffer)
assert (detector.score_thr, detector.min_size) == (0.1, 3)
session = detector._backend._runner._session
assert session.get_session_options().intra_op_num_threads == 1
sys.stdout.buffer.write(pickle.dumps(detector.detect(image)))
"""
    given = pickle.dumps((detector, blue(200, 64, 96)))
    done = run_light('-c', code, cwd=Path('/'), input=given)
    assert done.returncode == 0, done.stderr
    assert_same(pickle.loads(done.stdout), detector.detect(blue(200, 64, 96)))


def test_threads(tiny):
    before = torch.get_num_threads()
    try:
        FaceDetector(*tiny, device='cpu', threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match='threads must be 1 or more'):
        FaceDetector(*tiny, threads=0)


def test_onednn_keeps_fewer_operators_unless_told_otherwise(tiny, monkeypatch):
    name = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY'
    monkeypatch.setenv(name, '7')
    FaceDetector(*tiny, device='cpu')
    assert os.environ[name] == '7'
    monkeypatch.delenv(name)
    FaceDetector(*tiny, device='cpu')
    assert os.environ[name] == '128'


def test_what_an_exported_file_cannot(exported, make_image):
    onnx = FaceDetector(exported)
    with pytest.raises(ImageError, match='cannot take an image of 1000x1 pixels'):
        onnx.detect(make_image(0, 1, 1000))
    assert not onnx.has_multi_scale
    with pytest.raises(ValueError, match=r'tiny\.onnx has no multi-scale test'):
        onnx.detect(make_image(), multi_scale=True)
    with pytest.raises(ValueError, match=r'tiny\.onnx gives 1 faces at most'):
        FaceDetector(exported, max_faces=2)
    with pytest.warns(UserWarning, match='max_faces'):
        assert FaceDetector(exported, max_faces=1).detect(blue(200, 8, 8)).limit_reached


def test_exported_file_that_cannot_be_used(tmp_path):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime, of the extra onnx')
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'hello')
    with pytest.raises(ValueError, match='this onnxruntime has no NOPEExecution'):
        FaceDetector(path, device='nope')
    with pytest.raises(ValueError, match=r'onnxruntime cannot load .*model\.onnx'):
        FaceDetector(path)


def test_import_in_a_fresh_process():
    """The name is there without anything else being imported first.

    And OpenCV is limited then: to fewer pixels than this file claims to have.
    """
    code = (
        'from mmdet_srn import FaceDetector; print(FaceDetector.__module__)\n'
        'import cv2, numpy\n'
        "data = numpy.frombuffer(b'P5 17000 16000 255\\n', numpy.uint8)\n"
        'try: cv2.imdecode(data, 1)\n'
        "except cv2.error as error: assert 'MAX_IMAGE_PIXELS' in str(error)\n"
        "else: raise SystemExit('not limited')"
    )
    done = run_light('-c', code)  # with mmdet: tests of mim
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == b'mmdet_srn.detector.face_detector'
