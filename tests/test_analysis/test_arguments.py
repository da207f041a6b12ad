import argparse

import pytest

from mmdet_srn.analysis.arguments import percent, read_size, whole


def test_reads():
    assert read_size('640x480') == (640, 480)
    assert percent('0.5') == 0.5 and percent('0') == 0 and percent('100') == 100
    assert whole(1)('1') == 1 and whole(0)('0') == 0


@pytest.mark.parametrize('text', ['640', '640x', '0x480', '640x-1', '6.5x4', '1x2x3'])
def test_sizes_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is no size such as 640x480'):
        read_size(text)


@pytest.mark.parametrize('text', ['-0.1', '100.1', 'nan'])
def test_shares_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not from 0 to 100'):
        percent(text)


def test_numbers_that_are_too_small():
    with pytest.raises(argparse.ArgumentTypeError, match='1 is less than 2'):
        whole(2)('1')
