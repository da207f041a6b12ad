import pytest

from mmdet_srn.analysis.part_meter import PartMeter


class Reading:
    def __init__(self):
        self.value = 100.0

    def __call__(self):
        return self.value


def test_inner_parts_count_apart():
    now = Reading()
    meter = PartMeter(now)
    now.value += 1000  # outside
    with meter.part('a'):
        now.value += 1
        with meter.part('b'):
            now.value += 10
            with meter.part('a'):
                now.value += 2
            now.value += 20
        now.value += 4
    now.value += 1000
    with meter.part('b'):
        now.value += 40
    assert meter.totals == {'a': 7, 'b': 70}


def test_a_part_that_fails_ends():
    now = Reading()
    meter = PartMeter(now)
    with meter.part('a'):
        with pytest.raises(RuntimeError), meter.part('b'):
            now.value += 3
            raise RuntimeError
        now.value += 5
    assert meter.totals == {'a': 5, 'b': 3}


def test_functions():
    now = Reading()
    meter = PartMeter(now)

    def grow(by, *, again=0):
        now.value += by + again
        return now.value

    assert meter.metered(grow, 'a')(1, again=2) == 103
    assert meter.totals == {'a': 3}


def test_a_part_of_nothing_is_known():
    meter = PartMeter(Reading())
    with meter.part('a'):
        pass
    assert meter.totals == {'a': 0}
