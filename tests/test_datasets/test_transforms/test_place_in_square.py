import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_srn.datasets import PlaceInSquare
from tests.reference.naive_pipeline import build, photograph


def _results(image, left=3, top=5, side=40, size=40, boxes=((1, 2, 9, 12),)):
    """What LoadSquareCrop leaves."""
    return dict(
        img=image,
        img_shape=image.shape[:2],
        scale=(size, size),
        scale_factor=(0.5, 0.5),
        part_in_square=(left, top, side),
        gt_bboxes=HorizontalBoxes(np.array(boxes, np.float32)),
    )


@pytest.mark.parametrize('grey', [False, True])
def test_place_and_scale(grey):
    image = photograph(20, 30)
    if grey:
        image = image[..., 0]
    results = PlaceInSquare()(_results(image))
    expected = np.zeros((40, 40, *image.shape[2:]), np.uint8)
    expected[5:25, 3:33] = image
    np.testing.assert_array_equal(results['img'], expected)
    assert results['gt_bboxes'].tensor.tolist() == [[4, 7, 12, 17]]
    assert results['scale_factor'] == (0.5, 0.5)
    assert 'part_in_square' not in results

    results = PlaceInSquare('nearest')(_results(image, size=80))
    np.testing.assert_array_equal(results['img'], expected.repeat(2, 0).repeat(2, 1))
    assert results['gt_bboxes'].tensor.tolist() == [[8, 14, 24, 34]]
    assert results['scale_factor'] == (1, 1)
    assert results['img_shape'] == (80, 80)


def test_boxes_are_clipped_unless_told():
    boxes = ((-10, -10, 5, 5), (0, 0, 90, 50))
    results = PlaceInSquare()(_results(photograph(20, 30), boxes=boxes))
    assert results['gt_bboxes'].tensor.tolist() == [[0, 0, 8, 10], [3, 5, 40, 40]]
    results = PlaceInSquare(clip_boxes=False)(_results(photograph(20, 30), boxes=boxes))
    assert results['gt_bboxes'].tensor.tolist() == [[-7, -5, 8, 10], [3, 5, 93, 55]]


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('size', [40, 57])
def test_flip_before_or_after(direction, size):
    (flip,) = build(dict(type='RandomFlip', prob=1.0, direction=direction))
    image = photograph(20, 30).astype(np.float32)
    place = PlaceInSquare(dtype='float32')
    before = place(flip(_results(image, size=size)))
    after = flip(place(_results(image, size=size)))
    np.testing.assert_allclose(before['img'], after['img'], atol=1e-2)
    boxes = before['gt_bboxes'].tensor
    np.testing.assert_allclose(boxes, after['gt_bboxes'].tensor, atol=1e-4)
    np.testing.assert_allclose(
        before['homography_matrix'], after['homography_matrix'], atol=1e-4
    )


@pytest.mark.parametrize('place', [(40, 5), (-30, 5), (3, 40), (3, -20), (60, -50)])
def test_black_where_the_part_lies_outside(place):
    results = PlaceInSquare()(_results(photograph(20, 30), *place))
    assert results['img'].shape == (40, 40, 3)
    assert not results['img'].any()


def test_types():
    image = photograph(20, 30) * np.float32(2.5) - 150.3
    exact = PlaceInSquare(dtype='float32')(_results(image, size=64))['img']
    assert exact.dtype == np.float32
    assert exact.min() < -50 and exact.max() > 300
    half = PlaceInSquare()(_results(image, size=64))['img']
    assert half.dtype == np.float16
    error = np.abs(half.astype(np.float32) - exact)
    assert error[np.abs(exact) < 256].max() <= 1 / 16
    assert error.max() <= 1 / 8
    eight = PlaceInSquare(dtype='uint8')(_results(image, size=40))['img']
    assert eight.dtype == np.uint8
    plain = np.zeros((40, 40, 3))
    plain[5:25, 3:33] = image.round().clip(0, 255)
    np.testing.assert_array_equal(eight, plain)
    for dtype in ('float32', 'float16', 'uint8'):
        place = PlaceInSquare(dtype=dtype)
        assert place(_results(photograph(20, 30)))['img'].dtype == np.uint8


@pytest.mark.parametrize('dtype', ['float32', 'float16', 'uint8'])
def test_nothing_is_copied_when_packed(dtype):
    (pack,) = build(dict(type='PackDetInputs'))
    results = PlaceInSquare(dtype=dtype)(
        _results(photograph(20, 30).astype(np.float32))
    )
    tensor = pack(results)['inputs']
    assert tensor.shape == (3, 40, 40)
    assert tensor.dtype == getattr(torch, dtype)
    assert np.shares_memory(tensor.numpy(), results['img'])


def test_what_cannot_be_right_is_refused():
    with pytest.raises(ValueError, match='needs LoadSquareCrop'):
        PlaceInSquare()(dict(img=photograph(20, 30)))
    results = PlaceInSquare()(_results(photograph(20, 30)))
    with pytest.raises(ValueError, match='needs LoadSquareCrop'):
        PlaceInSquare()(results)
    results = _results(photograph(20, 30))
    results['img'] = results['img'][:10]
    with pytest.raises(ValueError, match=r'from \(20, 30\) to \(10, 30\)'):
        PlaceInSquare()(results)
    with pytest.raises(ValueError, match='dtype'):
        PlaceInSquare(dtype='int8')
