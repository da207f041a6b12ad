"""Whole steps, shared equally, every image at least once."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import DATA_SAMPLERS

from mmdet_srn.engine import whole_step_sampler

TYPE = 'WholeStepSampler'


@given(
    images=st.integers(1, 100),
    share=st.integers(1, 40),
    processes=st.integers(1, 4),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_epoch_is_the_fewest_whole_steps(images, share, processes, shuffle, epoch):
    step_size = share * processes
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(processes):
            # where DefaultSampler looks
            patch.setattr(
                'mmengine.dataset.sampler.get_dist_info',
                lambda rank=rank: (rank, processes),
            )
            sampler = whole_step_sampler.WholeStepSampler(
                range(images), step_size, shuffle=shuffle, seed=1
            )
            sampler.set_epoch(epoch)
            drawn.append(list(sampler))
            assert len(sampler) == len(drawn[-1])
    steps = math.ceil(images / step_size)
    assert [len(own) for own in drawn] == [steps * share] * processes
    counts = Counter(index for own in drawn for index in own)
    assert set(counts) == set(range(images))
    assert max(counts.values()) - min(counts.values()) <= 1  # filled up evenly
    # the processes take turns in one common order
    order = [drawn[i % processes][i // processes] for i in range(images)]
    assert sorted(order) == list(range(images))
    assert shuffle or order == list(range(images))


def test_shares_that_are_none():
    with pytest.raises(ValueError, match='1 processes cannot share steps of 0 images'):
        DATA_SAMPLERS.build(dict(type=TYPE, dataset=range(3), step_size=0))
