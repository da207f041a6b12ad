"""Which configs make up which table, and what the paper prints there.

The paper's AP are of WIDER FACE val in percent, by its multi-scale test, after 130
epochs. Where a table has none, the paper leaves the choice open.
"""

from typing import Literal, NamedTuple


class Cell(NamedTuple):
    """One trained configuration, a row of a table."""

    config: str | None  # file below configs/ without '.py'; None: the base itself
    label: str
    paper: tuple[float, ...] = ()  # as many as the table's columns, or none


class Table(NamedTuple):
    """One table of the paper, or of what it leaves open."""

    title: str
    columns: tuple[str, ...]  # names of the paper's figures
    cells: tuple[Cell, ...]  # the others are compared with the first
    figures: Literal['ap', 'false_positives', 'ap_by_iou', 'anchor_ratio'] = 'ap'


def _one_level(prefix: str, *aps: float) -> tuple[Cell, ...]:
    baseline = Cell('table1_baseline', 'none', (88.0,))
    levels = enumerate(aps, start=2)
    return baseline, *(Cell(f'{prefix}_p{n}', f'P{n}', (ap,)) for n, ap in levels)


def _open(title: str, **cells: str) -> Table:
    """Make the table of a choice that the paper leaves open or prints no figure for."""
    base = Cell(None, 'as the base config has it')
    return Table(title, (), (base, *(Cell(*cell) for cell in cells.items())))


_RETINANET = 'RetinaNet baseline'
#: All tables, by the name that ``tools/analysis_tools/ablate.py --table`` takes.
TABLES: dict[str, Table] = {
    '1': Table(
        'Table 1: the modules one after the other',
        ('easy', 'medium', 'hard'),
        (
            Cell('table1_baseline', _RETINANET, (95.1, 93.9, 88.0)),
            Cell('table1_stc', '+ STC', (95.3, 94.4, 89.4)),
            Cell('table1_str', '+ STR', (95.9, 94.8, 88.8)),
            Cell('table1_stc_str', '+ STC + STR', (96.1, 95.0, 90.1)),
            Cell('table1_all', '+ STC + STR + RFE', (96.4, 95.3, 90.2)),
        ),
    ),
    '2': Table(
        'Table 2: two-step classification on one level alone',
        ('hard',),
        _one_level('table2_stc', 88.9, 88.7, 88.5, 87.8, 88.0, 87.7),
    ),
    '3': Table(
        'Table 3: false positives at recall',
        ('10 %', '30 %', '50 %', '80 %', '90 %', '95 %'),
        (
            Cell('table1_baseline', _RETINANET, (3, 24, 126, 2801, 27644, 466534)),
            Cell('table1_stc', '+ STC', (1, 20, 101, 2124, 13163, 103586)),
        ),
        'false_positives',
    ),
    '4': Table(
        'Table 4: two-step regression on one level alone',
        ('hard',),
        _one_level('table4_str', 87.5, 87.7, 87.0, 88.2, 88.2, 88.4),
    ),
    '5': Table(
        'Table 5: AP by the IoU that a match needs',
        ('IoU .5', 'IoU .6', 'IoU .7', 'IoU .8'),
        (
            Cell('table1_baseline', _RETINANET, (88.1, 76.4, 57.8, 28.5)),
            Cell('table1_str', '+ STR', (88.8, 83.4, 66.5, 38.2)),
        ),
        'ap_by_iou',
    ),
    # "about 38 and 3 times", from the caption; the bars have no numbers.
    'fig1a': Table(
        'Figure 1a: positives to negatives before and after the first step',
        ('STC gain', 'STR gain'),
        (Cell('table1_all', 'SRN', (38, 3)),),
        'anchor_ratio',
    ),
    'theta': _open(
        'Threshold of the first step; the paper has .99',
        theta_0_9='theta .9',
        theta_0_95='theta .95',
        theta_0_999='theta .999',
    ),
    'predictor': _open(
        'Last layers; SRN shares that of boxes alone, and starts them from N(0, .01)',
        predictor_class_shared='classes: one for both steps',
        predictor_box_separate='boxes: one for each step',
        predictor_xavier='start from Xavier',
    ),
    'matching': _open(
        "Each face's best anchor",
        low_quality_matching='learns it at any IoU',
        no_low_quality_matching='learns it above the threshold only',
    ),
    'filter': _open(
        'What the first step drops in training',
        filter_positives='positives too, as the formula reads',
    ),
    'rfe': _open('Receptive field enhancement', rfe_neck='as a neck', rfe_none='none'),
    'top_down': _open('Top-down upsampling', top_down_nearest='nearest'),
    'p6': _open('What P6 is made of', p6_from_p5='P5'),
    'anchors': _open('Anchors', anchors_exact='not rounded'),
    'avg_factor': _open(
        "What the first step's losses are divided by",
        avg_own_levels='its positives on its own levels',
    ),
    'smooth_l1': _open(
        'Smooth L1',
        smooth_l1_beta_1='beta 1',
        smooth_l1_per_coordinate='divided by coordinates',
    ),
    'successors': _open(
        "What SRN's successors added",
        scrfd_crops="SCRFD's crops",
        sse="MogFace's SSE",
        diou='DIoU loss',
        iou_branch='IoU branch',
        hambox='HAMBox',
        ali_ams='Ali-AMS',
    ),
}
