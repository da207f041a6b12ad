import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmdet_srn.models.test_time_augs import multi_scale_views
from mmdet_srn.models.test_time_augs.multi_scale_views import View
from tests.reference import multi_scale_reference as reference

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


def same(found, expected):
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    for (ours, *_), (theirs, *_) in zip(found, expected, strict=True):
        # exactly 1 is no resize
        assert ours == pytest.approx([f for f in theirs if f != 1], rel=1e-14)


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
    same(
        expanded(height, width, max_size),
        reference.scale_list(height, width, max_size),
    )


@given(st.integers(1, 9), st.data())
def test_scales_at_exact_powers(power, data):
    max_size = 3**power * data.draw(st.integers(1, 4))
    pixels = (max_size // 3**power) ** 2 * 4**power
    height = data.draw(st.sampled_from([h for h in range(1, 65) if pixels % h == 0]))
    found = expanded(height, pixels // height, max_size)
    same(found, reference.scale_list(height, pixels // height, max_size))
    assert len(found) == 4 + power
    assert found[-1][0] == pytest.approx(found[-2][0])  # both, as released


@given(
    st.integers(1, 6000),
    st.integers(1, 6000),
    st.sampled_from([1400, 2100]),
)
@example(1400, 1400, 2100)
def test_count_is_that_of_a_logarithm_at_the_released_sizes(height, width, max_size):
    largest = max_size * max_size
    if height * width >= largest:
        return
    enlarged = math.floor(math.log(largest / width / height, 2.25))
    assert len(multi_scale_views(height, width, max_size).views) == 4 + enlarged


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


def test_large_image():
    base, views = multi_scale_views(2800, 1400, 1400)
    assert base == math.sqrt(0.5)
    assert views == (
        View(1.0),
        View(1.0, flip=True),
        View(0.75, **BIG),
        View(0.5, **BIG),
    )


def test_no_view_passes_the_largest_size():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 5000, (200, 2)).tolist():
        base, views = multi_scale_views(height, width, 1400)
        assert base <= 1
        for view in views:
            pixels = height * width * (base * view.factor) ** 2
            assert pixels <= 1400**2 * (1 + 1e-9)


@pytest.mark.parametrize('arguments', [(0, 5, 1400), (5, 0, 1400), (5, 5, 0)])
def test_refuses_what_is_no_size(arguments):
    with pytest.raises(ValueError, match='1 or more'):
        multi_scale_views(*arguments)
