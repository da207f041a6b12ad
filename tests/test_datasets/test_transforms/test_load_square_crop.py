from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from mmengine import fileio
from mmengine.config import Config
from PIL import Image

from mmdet_srn.datasets import LoadSquareCrop, PlaceInSquare
from tests.reference.naive_pipeline import (
    build,
    decided_first,
    info,
    naive_order,
    photograph,
    run,
    write,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('photographs')


@pytest.fixture(scope='module')
def photo(folder):
    return write(folder / 'photo.jpg', photograph(120, 180))


def _run_both(results, seed, size, **options):
    """The same photograph and draws in both orders."""
    seeds = dict(
        Expand=seed, LoadSquareCrop=seed, PhotoMetricDistortion=1, RandomFlip=2
    )
    naive = run(build(*naive_order(size, **options)), dict(results), seeds)
    return naive, run(
        build(*decided_first(size, reduce=False, **options)), dict(results), seeds
    )


def _assert_same(naive, ours):
    assert ours['img'].dtype == naive['img'].dtype == np.float32
    np.testing.assert_allclose(ours['img'], naive['img'], atol=1e-3)
    np.testing.assert_allclose(
        ours['gt_bboxes'].tensor, naive['gt_bboxes'].tensor, atol=1e-3
    )
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        np.testing.assert_array_equal(ours[key], naive[key])
        assert ours[key].dtype == naive[key].dtype
    assert ours['scale_factor'] == pytest.approx(naive['scale_factor'])
    for key in ('ori_shape', 'img_shape', 'flip', 'flip_direction', 'img_path'):
        assert ours[key] == naive[key]


BOX = st.tuples(
    st.integers(-5, 70), st.integers(-5, 70), st.integers(0, 60), st.integers(0, 60)
).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))
FACES = st.lists(st.tuples(BOX, st.booleans()), max_size=6)


@settings(max_examples=70, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    faces=FACES,
    low=st.floats(0.01, 1.0),
    largest=st.sampled_from([1, 1.3, 2, 4]),
    expand_prob=st.sampled_from([0.0, 0.5, 1.0]),
    direction=st.sampled_from(['horizontal', 'vertical', 'diagonal']),
    size=st.integers(1, 64),
    max_tries=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_same_as_the_naive_order(
    folder, height, width, faces, low, largest, direction, size, seed, **options
):
    path = write(folder / 'any.png', photograph(height, width, seed % 7))
    naive, ours = _run_both(
        info(path, [box for box, _ in faces], [flag for _, flag in faces]),
        seed,
        size,
        expand=(1, largest),
        flip=dict(prob=0.5, direction=direction),
        ratio_range=(low, 1.0),
        **options,
    )
    _assert_same(naive, ours)


def test_same_where_the_square_misses_the_photograph(folder):
    path = write(folder / 'small.png', photograph(9, 12))
    black = 0
    for seed in range(60):
        options = dict(expand=(3, 4), expand_prob=1, ratio_range=(0.05, 0.1))
        naive, ours = _run_both(info(path, []), seed, 8, full_prob=0, **options)
        _assert_same(naive, ours)
        black += not ours['img'].any()
    assert 10 < black < 60


@settings(max_examples=70, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    faces=FACES,
    size=st.integers(1, 80),
    name=st.sampled_from(['LoadSquareCrop', 'LoadDataAnchorCrop']),
    prob=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
@example(  # the square lies beyond the photograph, whose last block is not whole
    height=2,
    width=1,
    faces=[((0, 0, 0, 0), False), ((0, 1, 1, 5), False)],
    size=1,
    name='LoadDataAnchorCrop',
    prob=0.0,
    seed=1,
)
def test_homography_leads_from_the_photograph_to_the_result(
    folder, height, width, faces, size, name, prob, seed
):
    path = write(folder / 'any.jpg', photograph(height, width, seed % 7))
    steps = decided_first(size, flip=dict(prob=prob))
    steps[1]['type'] = name
    steps[-1]['clip_boxes'] = False
    results = run(build(*steps), info(path, [box for box, _ in faces]), {name: seed})
    kept = [faces[label][0] for label in results['gt_bboxes_labels']]
    original = np.array(kept, float).reshape(-1, 2, 2)
    matrix = results['homography_matrix'].astype(float)
    ends = original @ matrix[:2, :2].T + matrix[:2, 2]
    expected = np.hstack([ends.min(axis=1), ends.max(axis=1)]).reshape(-1, 4)
    boxes = results['gt_bboxes'].tensor.numpy()
    np.testing.assert_allclose(boxes, expected, atol=1e-2)
    # And back: what is predicted in the result is right on the photograph.
    scale = results['scale_factor'][0]
    assert results['scale_factor'] == (scale, scale)
    assert abs(matrix[0, 0]) == pytest.approx(scale, rel=1e-6)
    assert results['ori_shape'] == (height, width)
    # Every face kept has its centre in the result, half a pixel of the photograph
    # aside, since integer corners have centres on half pixels.
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (centres >= -0.51 * scale).all() and (centres <= size + 0.51 * scale).all()


@pytest.mark.parametrize('faces', [[], [(3, 3, 9, 9)]], ids=['none', 'in a corner'])
def test_sides_of_scrfd(faces):
    """Each share as often, however hard a face is to find, and no place preferred."""
    choices = (0.3, 0.8, 1.0, 2.0)
    crop = LoadSquareCrop(64, side_choices=choices, max_tries=2000)
    faces = np.array(faces, float).reshape(-1, 4)
    found = {int(40 * choice): [] for choice in choices}
    for _ in range(400):
        left, top, side = crop._find_square(40, 60, faces)
        found[side].append((left, top))
    for side, places in found.items():
        assert abs(len(places) - 100) < 4 * np.sqrt(400 / 4 * 3 / 4)
        for starts, length, high in zip(
            np.transpose(places), (60, 40), (6, 6), strict=True
        ):
            first, last = sorted((0, length - side))
            if len(faces) and side <= length:  # its centre is at 6
                last = min(last, high)
            assert starts.min() >= first and starts.max() <= last
            middle, deviation = (first + last) / 2, (last - first + 1) / np.sqrt(12)
            assert abs(starts.mean() - middle) <= 4 * deviation / np.sqrt(len(places))


@pytest.mark.parametrize(('choice', 'seed'), [(0.5, 0), (1.2, 1), (2.0, 2)])
def test_crop_of_scrfd_is_cut_out_of_a_black_canvas(folder, choice, seed):
    image = photograph(80, 120)
    path, side = write(folder / 'plain.png', image), int(choice * 80)
    steps = build(
        dict(type='LoadSquareCrop', size=side, side_choices=(choice,)),
        dict(type='PlaceInSquare'),
    )
    results = run(steps, dict(img_path=path), dict(LoadSquareCrop=seed))
    left, top = np.round(-results['homography_matrix'][:2, 2]).astype(int)
    canvas = np.zeros((80 + 400, 120 + 400, 3), np.uint8)
    canvas[200:280, 200:320] = image
    expected = canvas[200 + top : 200 + top + side, 200 + left : 200 + left + side]
    np.testing.assert_array_equal(results['img'], expected)


def _with_orientation(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photograph(60, 90)).save(path, exif=exif, quality=95)


def _save(mode, **options):
    def save(path):
        Image.fromarray(photograph(60, 90)).convert(mode).save(path, **options)

    return save


KINDS = {
    'grey.jpg': _save('L'),
    'cmyk.jpg': _save('CMYK'),
    'progressive.jpg': _save('RGB', progressive=True),
    'palette.png': _save('P'),
    'alpha.png': _save('RGBA'),
    'grey_alpha.png': _save('LA'),
    'lossy.webp': _save('RGB'),
    'plain.bmp': _save('RGB'),
    '16_bit.png': lambda path: write(path, photograph(60, 90).astype(np.uint16) * 257),
    **{
        f'turned_{n}.jpg': lambda path, n=n: _with_orientation(path, n)
        for n in range(1, 9)
    },
}

LYING = tuple(f'turned_{n}.jpg' for n in range(5, 9))


@pytest.mark.parametrize('kind', KINDS)
def test_files_of_all_kinds_are_loaded_as_by_mmdet(folder, kind):
    path = folder / kind
    KINDS[kind](path)
    results = info(str(path), [(20, 10, 40, 35), (50, 20, 60, 50)])
    for seed in range(2):
        naive, ours = _run_both(results, seed, 70)
        _assert_same(naive, ours)
        assert ours['ori_shape'] == ((90, 60) if kind in LYING else (60, 90))


@pytest.mark.parametrize(
    'options', [dict(color_type='grayscale'), dict(imdecode_backend='pillow')]
)
def test_other_ways_to_decode(photo, options):
    (load,) = build(dict(type='LoadImageFromFile', **options))
    image = load(info(photo))['img']
    crop = LoadSquareCrop(120, expand_prob=0, full_prob=1, **options)
    results = crop(info(photo))
    left = round(-results['homography_matrix'][0, 2])
    np.testing.assert_array_equal(results['img'], image[:, left : left + 120])


@pytest.mark.parametrize('content', [b'\xff\xd8 no JPEG', b'no image', b''], ids=repr)
def test_the_data_set_names_a_broken_file(tmp_path, content):
    folder = tmp_path / 'WIDER_train/images/0--A'
    folder.mkdir(parents=True)
    (folder / 'a.jpg').write_bytes(content)
    (tmp_path / 'train.txt').write_text('0--A/a.jpg\n1\n1 1 9 9 0 0 0 0 0 0\n')
    dataset = DATASETS.build(
        dict(
            type='WIDERFaceTxtDataset',
            data_root=str(tmp_path),
            ann_file='train.txt',
            data_prefix=dict(img='WIDER_train/images'),
            pipeline=decided_first(32),
        )
    )
    with pytest.raises(RuntimeError, match=r'0--A/a\.jpg .*(cannot decode|empty)'):
        dataset[0]


def test_backend_args(photo):
    with mock.patch.object(fileio, 'get', wraps=fileio.get) as get:
        LoadSquareCrop(32, backend_args=dict(backend='local'))(info(photo))
    get.assert_called_once_with(photo, backend_args=dict(backend='local'))


def test_without_annotation(photo):
    results = PlaceInSquare()(LoadSquareCrop(40)(dict(img_path=photo)))
    assert results['img'].shape == (40, 40, 3)
    assert not {'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'} & set(results)


def test_other_annotations_are_refused(photo):
    results = dict(info(photo), gt_seg_map=np.zeros((120, 180)))
    with pytest.raises(NotImplementedError, match=r'LoadSquareCrop .*gt_seg_map'):
        LoadSquareCrop(40)(results)


def test_boxes_as_arrays(photo):
    results = info(photo)
    results |= dict(
        gt_bboxes=np.array([[50, 50, 70, 80]], np.float32),
        gt_bboxes_labels=np.array([0]),
    )
    np.random.seed(4)
    kept = PlaceInSquare()(LoadSquareCrop(40)(results))
    assert isinstance(kept['gt_bboxes'], np.ndarray)
    assert kept['gt_bboxes'].shape == (1, 4)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(size=0),
        dict(size=(640, 480)),
        dict(expand_range=(0.5, 2)),
        dict(expand_range=(2, 1)),
        dict(expand_prob=1.1),
        dict(ratio_range=(0, 1)),
        dict(side_choices=()),
        dict(side_choices=(0.5, 0)),
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        LoadSquareCrop(**dict(size=8) | arguments)


def test_size_is_set_in_one_place(photo, repo_root):
    cfg = Config.fromfile(repo_root / 'configs/srn_r50_fpn_widerface.py')
    for name, size in (('LoadSquareCrop', 48), ('LoadDataAnchorCrop', (56, 56))):
        step = 'train_dataloader.dataset.pipeline.1'
        cfg.merge_from_dict({f'{step}.size': size, f'{step}.type': name})
        steps = build(*cfg.train_dataloader.dataset.pipeline)
        packed = run(steps, info(photo, [(60, 40, 80, 70)]), {})
        side = size if isinstance(size, int) else size[0]
        assert packed['inputs'].shape == (3, side, side)
        assert packed['inputs'].dtype == torch.float16
        assert packed['data_samples'].img_shape == (side, side)
