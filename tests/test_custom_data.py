"""Data sets of one's own, as the README shows them: trained on and evaluated."""

import json
import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

import mmdet_srn  # noqa: F401
from mmdet_srn.datasets.formats import clean, read_annotation, write_annotation
from tests.training import logged, losses, small_config, write_data_set

COCO = 'srn_r50_fpn_face_coco'
TEXT = 'srn_r50_fpn_widerface'


@pytest.fixture(scope='module')
def text_root(tmp_path_factory) -> Path:
    """In WIDER FACE's layout, with an ignored face and an image without faces."""
    root = write_data_set(tmp_path_factory.mktemp('data') / 'text', [2, 3, 1, 2, 0])
    file = root / 'wider_face_split/wider_face_val_bbx_gt.txt'
    rows = file.read_text().splitlines()
    rows[2] = rows[2].replace('0 0 0 0 0 0', '0 0 0 1 0 0')
    file.write_text('\n'.join(rows))
    return root


@pytest.fixture(scope='module')
def coco_root(text_root) -> Path:
    """The same images, annotated in COCO's JSON."""
    root = text_root.parent / 'coco'
    root.mkdir()
    for split in ('train', 'val'):
        (root / split).symlink_to(text_root / f'WIDER_{split}/images')
        text = text_root / f'wider_face_split/wider_face_{split}_bbx_gt.txt'
        images, _ = clean(read_annotation(text)[1], root / split)
        write_annotation(root / f'annotations/{split}.json', images, ['face'])
    return root


@pytest.fixture(scope='module')
def roots(text_root, coco_root) -> dict[str, Path]:
    return {TEXT: text_root, COCO: coco_root}


def _infos(name: str, root: Path, loader: str) -> list[tuple]:
    cfg = small_config(name, root, root.parent / 'unused')
    dataset = DATASETS.build(dict(cfg[f'{loader}_dataloader'].dataset, _scope_='mmdet'))
    assert dataset.metainfo['classes'] == ('face',)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (
            Path(info['img_path']).name,
            [(f['bbox'], f['bbox_label'], f['ignore_flag']) for f in info['instances']],
        )
        for info in infos
    ]


@pytest.mark.parametrize(('loader', 'images'), [('train', 4), ('val', 2)])
def test_coco_gives_the_same_faces(roots, loader, images):
    text, coco = (_infos(name, root, loader) for name, root in roots.items())
    assert text == coco
    assert len(coco) == images  # the one without faces is left out of training


def test_a_category_that_does_not_occur(coco_root, tmp_path):
    cfg = small_config(COCO, coco_root, tmp_path)
    cfg.train_dataloader.dataset.metainfo.classes = ('head',)
    with pytest.raises(ValueError, match='no face to find'):
        DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_='mmdet'))


@pytest.mark.parametrize(
    ('name', 'kind'),
    [(TEXT, 'WIDERFaceTxtDataset'), (COCO, 'FaceCocoDataset'), (COCO, 'CocoDataset')],
)
def test_head_of_another_number_of_classes(roots, name, kind, tmp_path):
    """Nothing is trained on; mmdet's hook says what to set."""
    cfg = small_config(name, roots[name], tmp_path, model__bbox_head__num_classes=3)
    cfg.train_dataloader.dataset.update(type=kind, metainfo=dict(classes=('face',)))
    runner = Runner.from_cfg(cfg)
    with pytest.raises(
        AssertionError, match=rf'num_classes.*\(3\).*classes.* 1.*{kind}'
    ):
        runner.train()
    assert runner.iter == 0


@pytest.fixture(scope='module')
def coco_run(coco_root) -> Path:
    """A training on COCO's JSON."""
    work_dir = coco_root.parent / 'run'
    cfg = small_config(COCO, coco_root, work_dir)
    # mmdet's own metric works beside ours.
    annotation = str(coco_root / 'annotations/val.json')
    cfg.val_evaluator = [
        cfg.val_evaluator,
        dict(type='CocoMetric', ann_file=annotation, metric='bbox'),
    ]
    Runner.from_cfg(cfg).train()
    return work_dir


def test_trains_and_evaluates_coco(coco_run):
    steps = losses(coco_run)
    assert sorted(steps) == [1, 2]
    assert all(map(math.isfinite, steps[2].values()))
    (row,) = [row for row in logged(coco_run) if 'widerface/AP' in row]
    assert row['widerface/faces'] == 5
    assert 'coco/bbox_mAP' in row


def test_the_same_figures_for_both(roots, coco_run, tmp_path):
    """One checkpoint, the same images in both layouts: the same AP."""
    checkpoint = str(coco_run / 'epoch_1.pth')
    metrics = []
    for name, root in roots.items():
        cfg = small_config(name, root, tmp_path / name, load_from=checkpoint)
        cfg.model.test_cfg.score_thr = 0.0
        metrics.append(Runner.from_cfg(cfg).test())
    assert metrics[0] == metrics[1]
    assert metrics[0]['widerface/AP'] > 0
    assert metrics[0]['widerface/faces'] == 5


def test_text_under_other_names(text_root, tmp_path, repo_root):
    """Any names will do, images need no folder of an event."""
    root = tmp_path / 'faces'
    root.mkdir()
    for split in ('train', 'val'):
        (root / split).symlink_to(text_root / f'WIDER_{split}/images/0--Noise')
        text = (
            text_root / f'wider_face_split/wider_face_{split}_bbx_gt.txt'
        ).read_text()
        (root / f'{split}.txt').write_text(text.replace('0--Noise/', ''))
    path = tmp_path / 'srn_my_faces.py'
    path.write_text(f"""
_base_ = '{repo_root}/configs/{TEXT}.py'

data_root = 'data/faces/'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='train.txt', data_prefix=dict(img='train')
    )
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='val.txt', data_prefix=dict(img='val'))
)
test_dataloader = val_dataloader
""")
    cfg = small_config(str(path.with_suffix('')), root, tmp_path / 'run')
    Runner.from_cfg(cfg).train()
    (row,) = [row for row in logged(tmp_path / 'run') if 'widerface/AP' in row]
    assert row['widerface/faces'] == 5
    assert sorted(losses(tmp_path / 'run')) == [1, 2]


def test_several_classes_are_judged_by_name(repo_root, tmp_path):
    """One face of each class: mask found, no_mask found but taken for a mask."""
    path = tmp_path / 'custom.py'
    base = repo_root / 'configs/srn_efflite0_faces.py'
    text = (repo_root / 'configs/srn_efflite0_custom.py').read_text()
    text = text.replace("'srn_efflite0_faces.py'", repr(str(base)))
    text = text.replace("'data/my_faces/'", repr(f'{tmp_path}/'))
    path.write_text(text)
    assert Config.fromfile(path).val_evaluator.type == 'WIDERFaceMetric'  # one class
    path.write_text(text.replace("('face',)", "('mask', 'no_mask')"))
    cfg = Config.fromfile(path)
    assert cfg.model.bbox_head.num_classes == 2
    boxes = [[0.0, 0, 40, 40], [50.0, 50, 90, 90]]
    content = dict(
        images=[dict(id=1, file_name='a.jpg', width=100, height=100)],
        categories=[
            dict(id=i, name=name) for i, name in enumerate(('mask', 'no_mask'))
        ],
        annotations=[
            dict(id=i + 1, image_id=1, category_id=i, bbox=[x, y, 40, 40], area=1600)
            | dict(iscrowd=0)
            for i, (x, y, _, _) in enumerate(boxes)
        ],
    )
    (tmp_path / 'val.json').write_text(json.dumps(content))
    sample = dict(
        img_id=1,
        img_path='a.jpg',
        ori_shape=(100, 100),
        instances=[
            dict(bbox=box, bbox_label=i, ignore_flag=0) for i, box in enumerate(boxes)
        ],
        pred_instances=dict(
            bboxes=torch.tensor(boxes),
            scores=torch.tensor([0.9, 0.8]),
            labels=torch.tensor([0, 0]),
        ),
    )
    evaluator = Evaluator(
        [dict(metric, _scope_='mmdet') for metric in cfg.test_evaluator]
    )
    evaluator.dataset_meta = dict(classes=cfg.classes)
    evaluator.process([sample])
    metrics = evaluator.evaluate(1)
    assert metrics['coco/mask_precision'] == 1
    assert metrics['coco/no_mask_precision'] == 0
    assert metrics['widerface/AP'] == metrics['widerface/faces'] == 1
    # The best checkpoint, and whether to stop, are by the mean of both.
    assert metrics[cfg.default_hooks.checkpoint.save_best] == 0.5
    (stop,) = [hook for hook in cfg.custom_hooks if hook.type == 'EarlyStoppingHook']
    assert metrics[stop.monitor] == 0.5
