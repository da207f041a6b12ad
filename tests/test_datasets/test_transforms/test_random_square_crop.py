import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms.utils import cache_random_params
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import init_default_scope

from mmdet_srn.datasets import LoadDataAnchorCrop, PlaceInSquare, RandomSquareCrop


def _image(height, width):
    """An image whose pixel (y, x) holds y, x and 7, so that a crop tells its place."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.int32)


def _results(height, width, boxes, flags=None, as_array=False):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return dict(
        img=_image(height, width),
        img_shape=(height, width),
        gt_bboxes=boxes.copy() if as_array else HorizontalBoxes(boxes.copy()),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.array(flags or [False] * len(boxes), bool),
    )


def _boxes(results):
    boxes = results['gt_bboxes']
    return boxes if isinstance(boxes, np.ndarray) else boxes.numpy()


def _place(results):
    """Left, top and side of the crop, as its pixels tell."""
    top, left, _ = results['img'][0, 0].tolist()
    return left, top, len(results['img'])


def _crop_boxes(boxes, square, clip):
    """What the boxes become, one by one; pairs of old number and new box."""
    left, top, side = square
    kept = []
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        x, y = (x1 + x2) / 2 - left, (y1 + y2) / 2 - top
        if 0 <= x < side and 0 <= y < side:
            box = [x1 - left, y1 - top, x2 - left, y2 - top]
            if clip:
                box = [min(max(value, 0), side) for value in box]
            kept.append((number, box))
    return kept


BOX = st.tuples(
    st.integers(-5, 70), st.integers(-5, 70), st.integers(0, 60), st.integers(0, 60)
).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    faces=st.lists(st.tuples(BOX, st.booleans()), max_size=6),
    low=st.floats(0.01, 1.0),
    full_prob=st.sampled_from([0.0, 0.5, 1.0]),
    clip=st.booleans(),
    as_array=st.booleans(),
    tries=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_against_a_plain_loop(
    height, width, faces, low, full_prob, clip, as_array, tries, seed
):
    np.random.seed(seed)
    boxes, flags = [face[0] for face in faces], [face[1] for face in faces]
    crop = RandomSquareCrop((low, 1.0), full_prob, clip_boxes=clip, max_tries=tries)
    results = crop(_results(height, width, boxes, flags, as_array))

    left, top, side = _place(results)
    short = min(height, width)
    assert results['img'].shape == (side, side, 3)
    assert results['img_shape'] == (side, side)
    assert 0 <= left <= width - side
    assert 0 <= top <= height - side
    assert max(1, round(low * short)) <= side <= short
    if full_prob == 1:
        assert side == short
    np.testing.assert_array_equal(
        results['img'], _image(height, width)[top : top + side, left : left + side]
    )
    np.testing.assert_array_equal(
        results['homography_matrix'], [[1, 0, -left], [0, 1, -top], [0, 0, 1]]
    )

    kept = _crop_boxes(boxes, (left, top, side), clip)
    assert isinstance(results['gt_bboxes'], np.ndarray if as_array else HorizontalBoxes)
    assert _boxes(results).dtype == np.float32
    assert _boxes(results).tolist() == [box for _, box in kept]
    assert results['gt_bboxes_labels'].tolist() == [number for number, _ in kept]
    assert results['gt_ignore_flags'].tolist() == [flags[number] for number, _ in kept]


def test_both_squares_and_all_places_occur():
    crop = RandomSquareCrop()
    squares = [_place(crop(_results(20, 30, []))) for _ in range(3000)]
    sides = np.array([side for _, _, side in squares])
    # Half of them on purpose, and what U[0.5, 1] rounds to 20: 0.5 + 0.5 * 0.05.
    assert abs((sides == 20).mean() - 0.525) < 0.03
    assert set(sides.tolist()) == set(range(10, 21))
    # The whole height has 11 places across, all equally likely.
    lefts = np.bincount([left for left, _, side in squares if side == 20], minlength=11)
    assert len(lefts) == 11
    assert lefts.min() > 0.6 * lefts.mean()
    assert {top for _, top, side in squares if side == 10} == set(range(11))
    assert {left for left, _, side in squares if side == 10} == set(range(21))


def test_tries_until_a_face_is_inside():
    # A face near the end of a long image: one try finds it about once in 20, fifty
    # do so but for 0.95 ** 50 = 8 %.
    found = {1: 0, 50: 0}
    for tries in found:
        crop = RandomSquareCrop(max_tries=tries)
        for _ in range(100):
            found[tries] += len(crop(_results(20, 400, [(40, 5, 60, 15)]))['gt_bboxes'])
    assert found[1] < 20
    assert found[50] > 80


def test_ignored_faces_do_not_count_as_found():
    # The ignored face is in every crop, the other one in none: its centre is outside.
    results = _results(9, 9, [(0, 0, 9, 9), (20, 20, 30, 30)], [True, False])
    crop = RandomSquareCrop(ratio_range=(1, 1), allow_empty=False)
    assert crop(results) is None
    results = _results(9, 9, [(0, 0, 9, 9), (20, 20, 30, 30)], [True, False])
    kept = RandomSquareCrop(ratio_range=(1, 1))(results)
    assert kept['gt_bboxes_labels'].tolist() == [0]
    assert kept['gt_ignore_flags'].tolist() == [True]


@pytest.mark.parametrize('as_array', [False, True])
def test_no_faces(as_array):
    kept = RandomSquareCrop()(_results(8, 12, [], as_array=as_array))
    assert _boxes(kept).shape == (0, 4)
    crop = RandomSquareCrop(allow_empty=False)
    assert crop(_results(8, 12, [], as_array=as_array)) is None


def test_homography_is_chained():
    results = _results(10, 10, [])
    results['homography_matrix'] = np.diag([2, 3, 1]).astype(np.float32)
    results = RandomSquareCrop(full_prob=0)(results)
    left, top, _ = _place(results)
    np.testing.assert_array_equal(
        results['homography_matrix'], [[2, 0, -left], [0, 3, -top], [0, 0, 1]]
    )


def test_same_seed_same_crop_and_cached_parameters():
    crop = RandomSquareCrop()
    places = []
    for _ in range(2):
        np.random.seed(3)
        places.append([_place(crop(_results(50, 80, []))) for _ in range(5)])
    assert places[0] == places[1]
    assert len(set(places[0])) > 1
    with cache_random_params(crop):
        assert len({_place(crop(_results(50, 80, []))) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    'arguments',
    [
        dict(ratio_range=(0, 1)),
        dict(ratio_range=(0.5, 1.1)),
        dict(ratio_range=(0.8, 0.5)),
        dict(full_prob=1.5),
        dict(max_tries=0),
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RandomSquareCrop(**arguments)


def test_registered():
    init_default_scope('mmdet')
    crop = TRANSFORMS.build(dict(type='RandomSquareCrop', max_tries=3))
    assert isinstance(crop, RandomSquareCrop)
    assert repr(crop) == (
        'RandomSquareCrop(ratio_range=(0.5, 1.0), full_prob=0.5, clip_boxes=True, '
        'max_tries=3, allow_empty=True)'
    )
    assert repr(LoadDataAnchorCrop(64)).endswith(
        'backend_args=None, skip_broken=False, prob=0.5, '
        'anchor_scales=(16, 32, 64, 128, 256, 512), size_ranges=None)'
    )
    assert repr(PlaceInSquare()).startswith("PlaceInSquare(interpolation='bilinear', ")
