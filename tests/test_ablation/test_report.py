import pytest

from mmdet_srn.ablation.report import MEAN_AP, collect, measure, spread, to_markdown
from mmdet_srn.ablation.tables import TABLES, Cell, Table
from tests.test_ablation.markdown_table import columns_of


@pytest.mark.parametrize(
    ('numbers', 'digits', 'change', 'text'),
    [
        ([], 1, False, '-'),
        ([40.25], 1, False, '40.2'),
        ([40.0, 41.0, 42.0], 1, False, '41.0 ± 1.0'),
        ([1000.0, None], 1, False, 'none in 1 of 2'),
        ([None, None], 1, False, 'none'),
        ([466534, 466536], 0, False, '466,535 ± 1'),
        ([-2.0], 1, True, '-2.0'),
        # The t quantile of 2 degrees of freedom is 4.303: 1 ± 4.303 / sqrt(3).
        ([0.0, 1.0, 2.0], 1, True, '+1.0 ± 1.0 [-1.5, +3.5]'),
    ],
)
def test_spread(numbers, digits, change, text):
    assert spread(numbers, digits, change) == text


def result(ap: float) -> dict:
    by_iou = {'0.5': ap, '0.6': ap - 0.1, '0.7': ap - 0.2, '0.8': ap - 0.3}
    return dict(
        metrics=dict(AP=ap, AP_lt16=ap / 2, faces=3.0),
        survivors=None,
        ap_by_iou=by_iou,
        false_positives={'0.1': 3, '0.95': None},
    )


def test_changes_are_taken_seed_by_seed_and_missing_seeds_left_out():
    table = Table('T', (), (Cell('a', 'A'), Cell('b', 'B')))
    results = {(0, 0): result(0.4), (0, 1): result(0.5), (1, 1): result(0.7)}
    frame = collect('t', table, results)
    text = to_markdown(table, frame, ['about'])
    assert text.startswith('### T\n\n- about\n\n|')
    columns = columns_of(text)
    assert columns['ours: AP, all faces'] == ('45.0 ± 7.1', '70.0')
    assert columns['ours: change, AP, all faces'] == ('', '+20.0')
    assert columns[f'ours: {MEAN_AP}'] == ('30.0 ± 7.1', '55.0')
    assert columns[f'ours: change, {MEAN_AP}'] == ('', '+20.0')


def test_figures_of_tables_3_and_5():
    assert measure(result(0.5), TABLES['3']) == {
        '10 %': 3,
        '95 %': None,
        MEAN_AP: pytest.approx(35),
    }
    assert list(measure(result(0.5), TABLES['5'])) == [
        *('IoU .5', 'IoU .6', 'IoU .7', 'IoU .8'),
        MEAN_AP,
    ]
