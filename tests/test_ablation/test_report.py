import pytest

from mmdet_srn.ablation.report import spread


@pytest.mark.parametrize(
    ('numbers', 'text'),
    [
        ([], '-'),
        ([40.25], '40.2'),
        ([40.0, 41.0, 42.0], '41.0 ± 1.0'),
        ([1000.0, None], 'none in 1 of 2'),
        ([None, None], 'none'),
    ],
)
def test_spread(numbers, text):
    assert spread(numbers, 1) == text


def test_spread_of_counts():
    assert spread([466534, 466536], 0) == '466,535 ± 1'
