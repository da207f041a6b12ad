import argparse

import pytest

from mmdet_srn.benchmark.arguments import percent, read_size, whole


def test_reads():
    assert read_size('640x480') == (640, 480)
    assert [percent(text) for text in ('0', '0.5', '100')] == [0, 0.5, 100]
    assert whole(1)('1') == 1 and whole(0)('0') == 0


@pytest.mark.parametrize(
    ('read', 'texts', 'message'),
    [
        (read_size, ['640', '640x', '0x480', '640x-1', '6.5x4', '1x2x3'], '640x480'),
        (percent, ['-0.1', '100.1', 'nan'], 'from 0 to 100'),
        (whole(2), ['1', '-3'], 'less than 2'),
    ],
)
def test_refuses(read, texts, message):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            read(text)
