import math

import pytest

from mmdet_srn.evaluation.average_precision import voc_average_precision


@pytest.mark.parametrize(
    ('recall', 'precision', 'area'),
    [
        ([], [], 0.0),
        ([1.0], [1.0], 1.0),
        ([0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3], 0.5 + 0.5 * 2 / 3),
        # The dip at recall 0.5 is under the envelope.
        ([0.25, 0.5, 0.75], [1.0, 0.6, 0.75], 0.25 + 0.5 * 0.75),
        ([0.0, 0.0, 0.5], [math.nan, 0.0, 0.5], 0.25),
        ([0.0, 0.0], [math.nan, math.nan], 0.0),
    ],
)
def test_area(recall, precision, area):
    assert voc_average_precision(recall, precision) == pytest.approx(area, abs=1e-15)


def test_without_faces_it_is_nan():
    assert math.isnan(voc_average_precision([math.nan], [0.0]))
