"""Each ablation changes what its name says, and trains, on any SRN with P2 to P7."""

from pathlib import Path
from typing import Any

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_srn.ablation.cells import resolve
from mmdet_srn.ablation.tables import TABLES
from tests.test_config_folders.image_batch import train_and_detect
from tests.training import SMALL_MODEL

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASE = CONFIGS / 'srn_r50_fpn_widerface.py'
MOSAIC = CONFIGS / 'srn_r18_face_mosaic.py'
# What starts with base_ is one for tools/analysis_tools/ablate.py, no ablation.
ABLATIONS = {
    path.stem: path
    for path in (CONFIGS / 'ablations').glob('*.py')
    if not path.stem.startswith('base_')
}
LEVELS = range(6)
GONE = object()

HEAD, NECK, TRAIN = 'model.bbox_head', 'model.neck', 'model.train_cfg'
STC, STR, RFE = f'{HEAD}.stc_levels', f'{HEAD}.str_levels', f'{HEAD}.rfe_cfg'
FIRST = f'{NECK}.first_levels'

XAVIER = dict(
    type='Xavier',
    distribution='uniform',
    layer='Conv2d',
    override=[
        dict(type='Xavier', distribution='uniform', name=name, bias_prob=0.01)
        for name in ('conv_cls', 'conv_cls_first')
    ],
)

EXPECTED: dict[str, dict[str, Any]] = {
    'table1_baseline': {STC: (), STR: (), FIRST: (), RFE: None},
    'table1_stc': {STR: (), FIRST: (0, 1, 2), RFE: None},
    'table1_str': {STC: (), FIRST: (3, 4, 5), RFE: None},
    'table1_stc_str': {RFE: None},
    'table1_all': {},
    **{
        f'table2_stc_p{level + 2}': {
            STC: (level,),
            STR: (),
            FIRST: (level,),
            RFE: None,
        }
        for level in LEVELS
    },
    **{
        f'table4_str_p{level + 2}': {
            STC: (),
            STR: (level,),
            FIRST: (level,),
            RFE: None,
        }
        for level in LEVELS
    },
    'theta_0_9': {f'{HEAD}.theta': 0.9},
    'theta_0_95': {f'{HEAD}.theta': 0.95},
    'theta_0_999': {f'{HEAD}.theta': 0.999},
    'predictor_class_shared': {f'{HEAD}.share_cls_predictor': True},
    'predictor_box_separate': {f'{HEAD}.share_reg_predictor': False},
    'low_quality_matching': {
        f'{TRAIN}.first_assigner.match_low_quality': True,
        f'{TRAIN}.assigner.match_low_quality': True,
    },
    'no_low_quality_matching': {},
    'filter_positives': {f'{HEAD}.loss_cls.filter_positives': True},
    'rfe_none': {RFE: None},
    'rfe_neck': {
        RFE: None,
        NECK: [
            Config.fromfile(BASE).model.neck.to_dict(),
            dict(type='RFE', in_channels=256, norm_cfg=None),
        ],
    },
    'top_down_nearest': {
        f'{NECK}.upsample_cfg.mode': 'nearest',
        f'{NECK}.upsample_cfg.align_corners': GONE,
    },
    'p6_from_p5': {f'{NECK}.add_extra_convs': 'on_output'},
    'anchors_exact': {
        f'{HEAD}.anchor_generator.type': 'AnchorGenerator',
        f'{HEAD}.anchor_generator.center_offset': 0.5,
    },
    'avg_own_levels': {f'{TRAIN}.first_avg_levels': 'own'},
    'predictor_xavier': {f'{HEAD}.init_cfg': XAVIER},
    'smooth_l1_beta_1': {f'{HEAD}.loss_bbox.beta': 1.0},
    'smooth_l1_per_coordinate': {f'{HEAD}.loss_bbox.loss_weight': 0.25},
}
# The mosaic's SRN has some of it already, or other channels, norms and weights.
ON_MOSAIC: dict[str, dict[str, Any]] = {
    **EXPECTED,
    'low_quality_matching': {},
    'no_low_quality_matching': {
        f'{TRAIN}.first_assigner.match_low_quality': False,
        f'{TRAIN}.assigner.match_low_quality': False,
    },
    'rfe_neck': {
        RFE: None,
        NECK: [
            Config.fromfile(MOSAIC).model.neck.to_dict(),
            dict(
                type='RFE',
                in_channels=64,
                norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
            ),
        ],
    },
}

# The levels between differ from these in nothing but their number.
TRAINED = [
    name
    for name in EXPECTED
    if name[:6] not in ('table2', 'table4') or name.endswith(('p2', 'p7'))
]


def difference(base: Any, other: Any, path: str = '') -> dict[str, Any]:
    """Keys, joined by dots, that differ, with what the other one has there."""
    if not (isinstance(base, dict) and isinstance(other, dict)):
        return {} if base == other else {path: other}
    found = {}
    for key in base.keys() | other.keys():
        values = base.get(key, GONE), other.get(key, GONE)
        found |= difference(*values, f'{path}.{key}' if path else key)
    return found


def cells_on(base: Path) -> dict[str | None, Config]:
    """All ablations on a base, and by the name None the base itself."""
    tables = [table for name, table in TABLES.items() if name != 'successors']
    return resolve(tables, base, CONFIGS, {})


@pytest.fixture(scope='module')
def base() -> dict[str, Any]:
    return Config.fromfile(BASE).to_dict()


@pytest.fixture(scope='module')
def on_mosaic() -> dict[str | None, Config]:
    return cells_on(MOSAIC)


@pytest.fixture(scope='module')
def on_small(tmp_path_factory) -> dict[str | None, Config]:
    """Those on the base with few channels."""
    cfg = Config({})
    cfg.merge_from_dict({**SMALL_MODEL, 'model.test_cfg.max_per_img': 20})
    file = tmp_path_factory.mktemp('bases') / 'small.py'
    file.write_text(f'_base_ = {BASE.as_posix()!r}\n{cfg.pretty_text}')
    return cells_on(file)


def test_every_ablation_is_tested():
    assert ABLATIONS.keys() == EXPECTED.keys()


@pytest.mark.parametrize('name', EXPECTED)
def test_changes_what_its_name_says(name, base):
    ablation = Config.fromfile(ABLATIONS[name]).to_dict()
    assert difference(base, ablation) == EXPECTED[name]


@pytest.mark.parametrize('name', EXPECTED)
def test_changes_the_same_on_the_mosaics_base(name, on_mosaic):
    changed = difference(on_mosaic[None].to_dict(), on_mosaic[name].to_dict())
    assert changed == ON_MOSAIC[name]


@pytest.mark.parametrize('name', TRAINED)
def test_trains_and_detects(name, on_small):
    model = MODELS.build(dict(on_small[name].model, _scope_='mmdet'))
    head = model.bbox_head
    expected = {'loss', 'loss_cls_second', 'loss_bbox_second', 'num_pos_second'}
    if head.stc_levels:
        expected |= {'loss_cls_first', 'stc_survivors', 'num_pos_first'}
    if head.str_levels:
        expected |= {'loss_bbox_first', 'num_pos_first'}
    losses, found = train_and_detect(model)
    assert losses.keys() == expected
    assert 0 < len(found) <= 20
