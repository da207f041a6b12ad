import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from mmdet_srn.datasets import LoadDataAnchorCrop, PlaceInSquare
from tests.reference.naive_pipeline import build, info, photograph, run, write

SCALES = (16, 32, 64, 128, 256, 512)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('photographs')


@pytest.mark.parametrize(
    ('face', 'scales'),
    [
        (3, (16, 32)),
        (23, (16, 32)),
        (25, (16, 32, 64)),
        (90, (16, 32, 64, 128)),
        (300, SCALES),
        (900, SCALES),
    ],
)
def test_sizes_of_the_paper(face, scales):
    """A scale up to the one after the nearest, and half to twice that."""
    crop = LoadDataAnchorCrop(2000)
    targets = np.array([crop._random_target(face) for _ in range(2000)])
    assert targets.min() >= 8 and targets.max() <= 2 * scales[-1]

    def cumulative(size):
        within = [(size - s / 2) / (1.5 * s) for s in scales]
        return np.mean(np.clip(within, 0, 1), axis=0)

    # A correct draw falls below 1e-4 once in ten thousand seeds; this seed is fixed.
    assert kstest(targets, cumulative).pvalue > 1e-4
    # The test would see a scale more or less.
    for wrong in (scales[:-1], (*scales, 2 * scales[-1])):
        within = lambda size, wrong=wrong: np.mean(  # noqa: E731
            np.clip([(size - s / 2) / (1.5 * s) for s in wrong], 0, 1), axis=0
        )
        assert kstest(targets, within).pvalue < 1e-4


def test_sizes_of_mogface():
    """The range by its probability, whatever the face, then a size in it."""
    ranges = ((0.64, 16, 106.2), (0.2, 106.2, 212.4), (0.16, 212.4, 420.8))
    crop = LoadDataAnchorCrop(640, size_ranges=ranges)
    sizes = np.array([crop._random_target(face) for face in [3, 900] * 1000])

    def cumulative(size):
        shares = [p * np.clip((size - a) / (b - a), 0, 1) for p, a, b in ranges]
        return np.sum(shares, axis=0)

    assert kstest(sizes, cumulative).pvalue > 1e-4
    assert kstest(sizes[::2], cumulative).pvalue > 1e-4
    # The test would see a third for each.
    ranges = [(1 / 3, *ends) for _, *ends in ranges]
    assert kstest(sizes, cumulative).pvalue < 1e-4


def test_a_size_of_mogface_is_the_face_in_the_result(folder):
    path = write(folder / 'sse.jpg', photograph(200, 300))
    steps = build(
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            type='LoadDataAnchorCrop',
            size=96,
            prob=1,
            size_ranges=((1, 20, 20), (0, 90, 90)),
        ),
        dict(type='PlaceInSquare'),
    )
    for seed in range(5):
        results = run(
            steps, info(path, [(100, 60, 140, 110)]), dict(LoadDataAnchorCrop=seed)
        )
        ((x1, y1, x2, y2),) = results['gt_bboxes'].tensor.tolist()
        assert np.sqrt((x2 - x1) * (y2 - y1)) == pytest.approx(20, rel=0.01)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(20, 300),
    width=st.integers(20, 300),
    size=st.integers(16, 96),
    corner=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    extent=st.tuples(st.floats(0.02, 0.3), st.floats(0.02, 0.3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_square_holds_the_face(folder, height, width, size, corner, extent, seed):
    x1, y1 = (
        int(c * length) for c, length in zip(corner, (width, height), strict=True)
    )
    w, h = (max(2, int(e * min(height, width))) for e in extent)
    x2, y2 = min(x1 + w, width), min(y1 + h, height)
    path = write(folder / 'any.jpg', photograph(height, width))
    steps = build(
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='LoadDataAnchorCrop', size=size, prob=1),
    )
    results = run(steps, info(path, [(x1, y1, x2, y2)]), dict(LoadDataAnchorCrop=seed))
    step = round(1 / results['scale_factor'][0])
    place, side = results['part_in_square'][:2], results['part_in_square'][2] * step
    offset = results['homography_matrix'][:2, 2]
    for low, high, length, inside, shift in zip(
        (x1, y1), (x2, y2), (width, height), place, offset, strict=True
    ):
        start = -round(shift * step) - inside * step
        assert start % step == 0
        if high - low > side:  # one middle, to a block
            assert abs(start + side / 2 - (low + high) / 2) <= step
            continue
        assert start <= low and high < start + side + step
        first, last = sorted((0, length - side))  # inside, or all of it
        assert first - step < start <= last
    assert results['gt_bboxes_labels'].tolist() == [0]
    # From half the smallest scale to the square's side.
    face = np.sqrt((x2 - x1) * (y2 - y1))
    assert face - step - 1 < side <= size * face / 8 + 1


def test_faces_shrink_and_every_face_is_picked(folder):
    path = write(folder / 'faces.jpg', photograph(300, 400))
    boxes = [(10, 10, 110, 130), (300, 200, 320, 222), (200, 20, 230, 60)]
    crop = build(
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='LoadDataAnchorCrop', size=64, prob=1),
    )
    np.random.seed(0)
    sizes, found = [], np.zeros(3, int)
    for _ in range(400):
        results = run(crop, info(path, boxes), {})
        labels = results['gt_bboxes_labels']
        found[labels] += 1
        scale = 64 / results['part_in_square'][2] * results['scale_factor'][0]
        if 0 in labels:
            sizes.append(scale * np.sqrt(100 * 120))
    assert (found >= 400 / 3 - 4 * np.sqrt(400 * 2 / 9)).all()
    assert np.median(sizes) < 64


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    size=st.integers(1, 60),
    prob=st.sampled_from([0, 1]),
    grey=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_are_averages_of_blocks(folder, height, width, size, prob, grey, seed):
    """Of the last power of two that leaves no fewer pixels than the output has."""
    image = photograph(height, width, seed % 5)
    image = image[..., 0] if grey else image
    face = (width / 3, height / 3, width / 2 + 1, height / 2 + 1)
    crop = LoadDataAnchorCrop(size, prob, color_type='unchanged')
    (load,) = build(dict(type='LoadAnnotations', with_bbox=True))
    results = load(info(write(folder / 'any.png', image), [face]))
    np.random.seed(seed)
    results = crop(results)
    step = round(1 / results['scale_factor'][0])
    *place, side = results['part_in_square']
    assert step & (step - 1) == 0
    assert side < 2 * size and (step == 1 or side >= size)
    if min(place) < 0 or max(place) >= side:
        return  # the square misses the photograph
    left, top = (round(-v * step) for v in results['homography_matrix'][:2, 2])
    rows, columns = results['img_shape']
    # Beyond the edge the last row and column go on.
    ys = np.minimum(np.arange(top, top + rows * step), height - 1)
    xs = np.minimum(np.arange(left, left + columns * step), width - 1)
    blocks = image[np.ix_(ys, xs)].reshape(rows, step, columns, step, -1)
    means = blocks.mean(axis=(1, 3)).reshape(results['img'].shape)
    assert np.abs(results['img'] - means).max() <= 0.501


def test_a_large_face_that_shrinks_needs_no_memory(folder):
    """From 1,000 pixels to 8: the square is 8,000 pixels wide, the work is on 64."""
    path = write(folder / 'large.jpg', photograph(1100, 1100))
    steps = build(
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='LoadDataAnchorCrop', size=64, prob=1, anchor_scales=(16,)),
    )
    largest = 0
    for seed in range(10):
        results = run(
            steps, info(path, [(50, 50, 1050, 1050)]), dict(LoadDataAnchorCrop=seed)
        )
        assert max(results['img'].shape) < 128
        _, _, side = results['part_in_square']
        assert 64 <= side < 128
        largest = max(largest, side / results['scale_factor'][0])
    assert largest > 4000
    assert PlaceInSquare()(results)['img'].shape == (64, 64, 3)


@pytest.mark.parametrize(
    ('boxes', 'flags'), [([], []), ([(50, 50, 80, 90)], [1]), ([(5, 5, 5, 9)], [0])]
)
def test_without_a_face_it_is_the_other_crop(folder, boxes, flags):
    """None, ignored ones only, or none that has an area."""
    path = write(folder / 'none.jpg', photograph(120, 180))
    drawn = []
    for name in ('LoadSquareCrop', 'LoadDataAnchorCrop'):
        steps = build(
            dict(type='LoadAnnotations', with_bbox=True), dict(type=name, size=130)
        )
        results = run(steps, info(path, boxes, flags), {name: 5})
        drawn.append(results['homography_matrix'].tolist())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ('match', 'arguments'),
    [
        ('prob', dict(prob=-0.1)),
        ('anchor_scales', dict(anchor_scales=())),
        ('anchor_scales', dict(anchor_scales=(32, 16))),
        ('anchor_scales', dict(anchor_scales=(0, 16))),
        ('no probabilities', dict(size_ranges=((0.5, 8, 16), (0.4, 16, 32)))),
        ('no probabilities', dict(size_ranges=((1.5, 8, 16), (-0.5, 16, 32)))),
        ('positive', dict(size_ranges=((1, 0, 16),))),
        ('positive', dict(size_ranges=((1, 16, 8),))),
        ('reduce', dict(reduce=False)),
        ('expand_range', dict(expand_range=(0, 1))),
    ],
)
def test_bad_arguments(match, arguments):
    with pytest.raises(ValueError, match=match):
        LoadDataAnchorCrop(64, **arguments)
