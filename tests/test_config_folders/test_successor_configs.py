"""Each part changes what its name says; the whole trains on photographs."""

import copy
from pathlib import Path
from typing import Any

import pytest
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_srn.ablation.cells import resolve
from mmdet_srn.ablation.tables import TABLES
from mmdet_srn.model_loader import load_detector
from mmdet_srn.weights import weights_file
from tests.training import logged, small_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SUCCESSORS = CONFIGS / 'successors'
# What a part sets, and what it puts in the place of the base's crops
CHANGED = {
    'diou': ['model.bbox_head.reg_decoded_bbox', 'model.bbox_head.loss_bbox'],
    'iou_branch': ['model.bbox_head.type', 'model.test_cfg.score_thr'],
    'hambox': [
        *('model.train_cfg.assigner.type', 'model.train_cfg.assigner.pred_iou_thr'),
    ],
    'ali_ams': ['model.train_cfg.assigner.type'],
    'soft_nms': ['model.bbox_head.type', 'model.test_cfg.nms'],
    'box_voting': ['model.bbox_head.type', 'model.test_cfg.vote_iou_thr'],
}
CROPS = ['scrfd_crops', 'sse']


def load(name: str) -> dict[str, Any]:
    return Config.fromfile(SUCCESSORS / f'{name}.py').to_dict()


@pytest.fixture(scope='module')
def loaded() -> dict[str, Any]:
    return load('base_faces')


@pytest.fixture
def base(loaded: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(loaded)


def pop(cfg: dict[str, Any], key: str) -> Any:
    *folders, last = key.split('.')
    for folder in folders:
        cfg = cfg[folder]
    return cfg.pop(last, None)


def test_readme_names_every_config():
    text = (SUCCESSORS / 'README.md').read_text()
    for path in SUCCESSORS.glob('*.py'):
        assert f'`{path.name}`' in text


@pytest.mark.parametrize('name', ['soft_nms', 'box_voting'])
def test_parts_of_the_test_take_the_shipped_weights(name):
    load_detector(SUCCESSORS / f'{name}.py', weights_file('.pth'))


@pytest.mark.parametrize('name', CHANGED)
def test_changes_what_its_name_says(name, base):
    part = load(name)
    for key in CHANGED[name]:
        assert pop(base, key) != pop(part, key)
    assert part == base


@pytest.mark.parametrize('name', CROPS)
def test_changes_the_crops_alone(name, base):
    def crops(cfg: dict[str, Any]) -> list[dict[str, Any]]:
        datasets = cfg['train_dataloader']['dataset']['datasets']
        return [each.get('dataset', each)['pipeline'].pop(1) for each in datasets]

    part = load(name)
    before, after = crops(base), crops(part)
    assert len(after) == 6
    assert all(each == after[0] != before[0] for each in after)
    assert part == base


@pytest.mark.parametrize('name', ['srn_efflite0_faces', 'ablations/base_photographs'])
def test_parts_fit_other_bases_of_photographs(name):
    def crop(cfg: Config) -> dict[str, Any]:
        return cfg.train_dataloader.dataset.datasets[-1].pipeline[1]

    table = TABLES['successors']
    cells = resolve([table], CONFIGS / f'{name}.py', CONFIGS, {})
    assert cells.keys() == {cell.config for cell in table.cells}
    for part, cfg in cells.items():
        MODELS.build(dict(cfg.model.bbox_head, train_cfg=cfg.model.train_cfg))
        size = TRANSFORMS.build(crop(cfg)).size
        assert size == TRANSFORMS.build(crop(cells[None])).size
        assert (crop(cfg) != crop(cells[None])) == (part in CROPS)


def test_another_base_is_refused():
    """The sizes of crops and the threshold are for photographs and 320 pixels."""
    base = CONFIGS / 'srn_r50_fpn_widerface.py'
    with pytest.raises(ValueError, match='scrfd_crops does not fit'):
        resolve([TABLES['successors']], base, CONFIGS, {})


def test_every_part_of_training_is_in_the_table():
    cells = {cell.config for cell in TABLES['successors'].cells} - {None}
    paths = SUCCESSORS.glob('*.py')
    parts = {p.stem for p in paths if "_base_ = 'base_faces.py'" in p.read_text()}
    assert cells == parts - {'box_voting', 'soft_nms'}  # which are of the test


def test_plus_trains_on_photographs(shared_data, tmp_path):
    """An epoch of widerface_mini, small: every loss is there and finite."""
    root = shared_data / 'widerface_mini'
    if not root.is_dir():
        pytest.skip(f'needs {root}')
    cfg = small_config(
        'srn_r50_fpn_widerface_plus',
        root,
        tmp_path / 'plus',
        train_dataloader__dataset__indices=6,
        val_dataloader__dataset__indices=1,
    )
    Runner.from_cfg(cfg).train()
    rows = [row for row in logged(tmp_path / 'plus') if 'loss' in row]
    assert len(rows) == 3
    assert all(0 < row['loss_bbox_second'] < 10 for row in rows[:1])
    assert all(0 < row['loss_iou'] < 10 for row in rows[:1])
    assert 'widerface/AP' in logged(tmp_path / 'plus')[-1]
