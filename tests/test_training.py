"""Training and testing through mmengine's Runner, on a mosaic made here."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from tests.training import logged

NAMES = {
    'loss',
    'loss_cls_first',
    'loss_bbox_first',
    'loss_cls_second',
    'loss_bbox_second',
    'num_pos_first',
    'num_pos_second',
    'stc_survivors',
}


@pytest.fixture(scope='module')
def mosaic(tmp_path_factory) -> Path:
    pytest.importorskip('skimage', reason='the mosaic is made of scikit-image data')
    root = Path(__file__).resolve().parent.parent
    out = tmp_path_factory.mktemp('mosaic') / 'face_mosaic'
    command = [
        sys.executable,
        root / 'tools/dataset_converters/make_face_mosaic.py',
        out,
    ]
    options = ['--num-train', '8', '--num-val', '4', '--size', '128']
    subprocess.run([*command, *options], check=True, capture_output=True)
    return out


def config(repo_root: Path, mosaic: Path, work_dir: Path, **options) -> Config:
    cfg = Config.fromfile(repo_root / 'configs/srn_r18_face_mosaic.py')
    root = f'{mosaic}/'
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            # mmengine hands out instances by name
            'experiment_name': str(work_dir),
            'visualizer.name': str(work_dir),
            'train_dataloader.dataset.data_root': root,
            'val_dataloader.dataset.data_root': root,
            'test_dataloader.dataset.data_root': root,
            'train_dataloader.batch_size': 4,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'default_hooks.logger.interval': 1,
            **options,
        }
    )
    return cfg


def test_two_steps_validation_and_checkpoint(repo_root, mosaic, tmp_path):
    Runner.from_cfg(config(repo_root, mosaic, tmp_path / 'a')).train()
    rows = logged(tmp_path / 'a')
    train = [row for row in rows if 'loss' in row]
    assert len(train) == 2
    for row in train:
        assert set(row) >= NAMES
        assert all(torch.tensor(row[name]).isfinite() for name in NAMES)
        losses = sum(row[name] for name in NAMES if name.startswith('loss_'))
        assert row['loss'] == pytest.approx(losses, rel=1e-4)
    assert any('widerface/AP' in row for row in rows)
    checkpoint = tmp_path / 'a' / 'epoch_1.pth'
    assert (tmp_path / 'a' / 'last_checkpoint').read_text() == str(checkpoint)
    meta = torch.load(checkpoint, weights_only=False)['meta']
    assert meta['dataset_meta']['classes'] == ('face',)


@pytest.mark.parametrize(
    ('stc', 'str_'), [((), ()), ((0,), ()), ((), (4,)), ((0, 1, 2), (3, 4, 5))]
)
def test_every_parameter_learns(repo_root, stc, str_):
    """With the levels it needs, nothing is left over that DDP would stop at."""
    cfg = Config.fromfile(repo_root / 'configs/srn_r18_face_mosaic.py')
    cfg.model.neck.first_levels = stc + str_
    cfg.model.bbox_head.update(stc_levels=stc, str_levels=str_)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 48.0]]), labels=torch.tensor([0])
        ),
        metainfo=dict(img_shape=(64, 64), scale_factor=(1.0, 1.0)),
    )
    batch = dict(inputs=[torch.zeros(3, 64, 64)], data_samples=[sample])
    data = model.data_preprocessor(batch, training=True)
    losses = model(data['inputs'], data['data_samples'], mode='loss')
    model.parse_losses(losses)[0].backward()
    left = [n for n, p in model.named_parameters() if p.grad is None]
    assert left == []


def test_one_image_is_learned(repo_root, mosaic):
    """The loss falls and the faces are found, by the default placements."""
    init_default_scope('mmdet')
    cfg = config(repo_root, mosaic, mosaic)
    torch.manual_seed(1)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    model.init_weights()
    dataset_cfg = cfg.train_dataloader.dataset
    dataset_cfg.pipeline = [
        step
        for step in cfg.train_pipeline
        if step.type not in ('PhotoMetricDistortion', 'RandomFlip')
    ]
    dataset = DATASETS.build(dataset_cfg)
    counts = [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))]
    item = dataset[counts.index(min(n for n in counts if n > 2))]
    batch = model.data_preprocessor(pseudo_collate([item]), training=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    model.train()
    for _ in range(100):
        losses = model(batch['inputs'], batch['data_samples'], mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.2 * totals[0]

    model.eval()
    with torch.no_grad():
        sample = model(batch['inputs'], batch['data_samples'], mode='predict')[0]
    found = sample.pred_instances[sample.pred_instances.scores > 0.3].bboxes
    # detections come in the pixels of the image before Resize
    faces = sample.gt_instances.bboxes
    faces = faces / faces.new_tensor(sample.scale_factor * 2)
    overlaps = bbox_overlaps(faces, found)
    assert (overlaps.max(dim=1).values > 0.5).all()
    assert (overlaps.max(dim=0).values > 0.5).float().mean() > 0.8
