"""Every ablation on another base than its own, and the folders of its runs."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

import mmdet_srn  # noqa: F401
from mmdet_srn.ablation.cells import as_python, place, resolve
from mmdet_srn.ablation.tables import TABLES, Cell, Table

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
BASE = CONFIGS / 'srn_r18_face_mosaic.py'
# Not those that are bases themselves.
FILES = sorted(
    path
    for path in (CONFIGS / 'ablations').glob('*.py')
    if "_base_ = '../srn_r50_fpn_widerface.py'" in path.read_text()
)


@pytest.fixture(scope='module')
def cells():
    # successors' parts need a base of photographs, see test_successor_configs
    tables = [table for name, table in TABLES.items() if name != 'successors']
    return resolve(tables, BASE, CONFIGS, {})


# Of those that change the layers; on a small base all are trained, see
# test_config_folders.
@pytest.mark.parametrize('name', ['rfe_neck', 'p6_from_p5'])
def test_builds_on_the_mosaic(name, cells):
    model = MODELS.build(dict(cells[name].model, _scope_='mmdet')).eval()
    with torch.no_grad():
        outs = model(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert len(outs[2]) == 6


def test_each_ablation_is_in_a_table(cells):
    """So that none can only be run by hand."""
    assert cells.keys() - {None} == {path.stem for path in FILES}


def test_the_written_config_is_the_planned_one(cells, tmp_path):
    for name in (None, 'table1_str', 'rfe_neck'):
        run = place(tmp_path, {}, name, 3, cells[name], 1, False)
        run.tested.mkdir(parents=True)
        run.config.write_text(as_python(run.cfg))
        cfg = Config.fromfile(run.config)
        assert cfg.to_dict() == run.cfg.to_dict()
        assert cfg.randomness.seed == 3
        assert cfg.test_evaluator.outfile_prefix == str(run.tested / 'detections')


@pytest.mark.parametrize('text', ['x = 1\n', "_base_ = 'a'\n_base_ = 'b'\n"])
def test_one_base_is_needed(text, tmp_path):
    (tmp_path / 'own.py').write_text(text)
    table = Table('T', (), (Cell('own', 'own'),))
    with pytest.raises(ValueError, match=r'own\.py: needs one line "_base_'):
        resolve([table], BASE, tmp_path, {})


CHANGES = [
    ({'model.bbox_head.theta': 0.5}, 'training'),
    ({'train_dataloader.batch_size': 3}, 'training'),
    ({'default_hooks.checkpoint.interval': 7}, 'training'),
    ({'model.test_cfg.score_thr': 0.2}, 'test'),
    ({'test_evaluator.gt_dir': 'x'}, 'test'),
    ({'val_evaluator.gt_dir': 'x'}, ''),
    ({'tta_model': dict(max_size=2100)}, ''),
    ({'train_dataloader.num_workers': 9}, ''),
    ({'default_hooks.logger.interval': 7, 'log_level': 'DEBUG'}, ''),
    ({'work_dir': 'x', 'model.bbox_head.stc_levels': [0, 1, 2]}, ''),
]


@pytest.mark.parametrize(('options', 'decides'), CHANGES)
def test_what_names_a_folder(options, decides, cells, tmp_path):
    cfg = Config(cells[None].to_dict())
    cfg.merge_from_dict(options)
    old, new = (place(tmp_path, {}, None, 0, c, 1, False) for c in (cells[None], cfg))
    assert old.folder.parent.name.startswith('base-')
    assert (old.folder != new.folder) == (decides == 'training')
    assert (old.tested.name != new.tested.name) == (decides == 'test')


def test_gpus_seeds_and_the_multi_scale_test_name_folders(cells, tmp_path):
    def of(seed=0, gpus=1, tta=False, size=1):
        cfg = Config(cells[None].to_dict())
        cfg.merge_from_dict({'tta_model': dict(max_size=size)})
        return place(tmp_path, {}, None, seed, cfg, gpus, tta)

    assert of(gpus=8).folder.parent != of().folder.parent == of(seed=1).folder.parent
    assert of(seed=1).folder != of().folder == of(tta=True).folder
    assert len({of().tested, of(tta=True).tested, of(tta=True, size=2).tested}) == 3


@pytest.mark.parametrize(
    'hook', [dict(type='mmengine.EarlyStoppingHook'), dict(type='ReduceOnPlateauLR')]
)
def test_validation_that_decides_the_weights_names_the_training(hook, cells, tmp_path):
    cfg = Config({**cells[None].to_dict(), 'custom_hooks': [hook]})
    old = place(tmp_path, {}, None, 0, cfg, 1, False)
    cfg.merge_from_dict({'val_evaluator.iou_thr': 0.4})
    assert place(tmp_path, {}, None, 0, cfg, 1, False).folder != old.folder


def test_the_same_training_keeps_its_first_name(cells, tmp_path):
    names: dict[str, str] = {}
    first = place(tmp_path, names, 'one', 0, cells[None], 1, False)
    again = place(tmp_path, names, 'two', 0, cells[None], 1, False)
    assert again.tested == first.tested
    other = place(tmp_path, {}, 'two', 0, cells[None], 1, False)
    assert other.name == 'two'
    first.folder.mkdir(parents=True)
    assert place(tmp_path, {}, 'two', 0, cells[None], 1, False).tested == first.tested
