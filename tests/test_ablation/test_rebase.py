"""Every ablation on another base than its own."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

import mmdet_srn  # noqa: F401
from mmdet_srn.ablation.identity import differences, settings
from mmdet_srn.ablation.plan import make_plan
from mmdet_srn.ablation.rebase import rebase
from mmdet_srn.ablation.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = ROOT / 'configs' / 'ablations'
BASE = ROOT / 'configs' / 'srn_r18_face_mosaic.py'
# Not those that are bases themselves.
FILES = sorted(
    path
    for path in ABLATIONS.glob('*.py')
    if "_base_ = '../srn_r50_fpn_widerface.py'" in path.read_text()
)


@pytest.fixture(scope='module')
def flat_base(tmp_path_factory) -> Path:
    """The base in one file: 'mmdet::' takes mmengine half a second each time."""
    path = tmp_path_factory.mktemp('base') / 'base.json'
    Config(Config.fromfile(BASE).to_dict()).dump(path)
    return path


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_builds_on_the_mosaic(path, flat_base, tmp_path):
    file = tmp_path / path.name
    file.write_text(rebase(path, flat_base, tmp_path))
    cfg = Config.fromfile(file)
    base = Config.fromfile(flat_base)
    assert cfg.train_dataloader == base.train_dataloader
    assert cfg.model.backbone == base.model.backbone
    # Values of the paper's model that the ablation does not name do not come along.
    assert cfg.model.bbox_head.feat_channels == base.model.bbox_head.feat_channels
    own = Config.fromfile(path)
    for key in ('stc_levels', 'str_levels', 'theta'):
        assert tuple(_as_tuple(cfg.model.bbox_head[key])) == tuple(
            _as_tuple(own.model.bbox_head[key])
        )
    model = MODELS.build(dict(cfg.model, _scope_='mmdet')).eval()
    with torch.no_grad():
        outs = model(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert len(outs[2]) == 6


def _as_tuple(value):
    return value if isinstance(value, (list, tuple)) else (value,)


def test_each_ablation_is_in_a_table():
    """So that none can only be run by hand."""
    named = {cell.config for table in TABLES.values() for cell in table.cells}
    assert named - {None} == {path.stem for path in FILES}


def test_plan_is_what_mmengine_makes_of_the_written_config(tmp_path):
    """The shortcut of the plan, one load of the base for all cells, changes nothing."""
    tables = {name: TABLES[name] for name in ('5', 'rfe')}
    plan = make_plan(tables, BASE, ABLATIONS, [3], [], tmp_path)
    names = [run.name for run in plan.runs]
    assert names == ['table1_baseline', 'table1_str', 'base', 'rfe_neck', 'rfe_none']
    run = plan.runs[3]
    run.config.parent.mkdir(parents=True)
    run.config.write_text(run.text)
    cfg = Config.fromfile(run.config)
    cfg.merge_from_dict({'randomness.seed': 3})
    assert (
        differences(settings(cfg.to_dict(), processes=1, tta=False), run.settings) == []
    )


def test_the_body_is_kept_to_the_letter(tmp_path):
    source = tmp_path / 'own.py'
    source.write_text(
        "# why\n_base_ = [\n    'a.py',\n    'b.py',\n]\nx = 1  # this\ny = dict(z=2)\n"
    )
    folder = tmp_path / 'out' / 'deep'
    folder.mkdir(parents=True)
    base = tmp_path / 'base.py'
    base.write_text('x = 0\ny = dict(z=0, w=1)\n')
    text = rebase(source, base, folder)
    assert text == (
        '# own.py on base.py, written by tools/ablate.py\n'
        "_base_ = '../../base.py'\n\n# why\nx = 1  # this\ny = dict(z=2)\n"
    )
    (folder / 'own.py').write_text(text)
    cfg = Config.fromfile(folder / 'own.py')
    assert cfg.to_dict() == dict(x=1, y=dict(z=2, w=1))


@pytest.mark.parametrize('text', ['x = 1\n', "_base_ = 'a'\n_base_ = 'b'\n"])
def test_one_base_is_needed(text, tmp_path):
    source = tmp_path / 'own.py'
    source.write_text(text)
    with pytest.raises(ValueError, match=r'own\.py: an ablation names one _base_'):
        rebase(source, tmp_path / 'base.py', tmp_path)
