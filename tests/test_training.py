"""The quickstart's network learns, all of it."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.structures import InstanceData


def build(repo_root: Path, **placement: tuple[int, ...]) -> torch.nn.Module:
    """The detector; the neck makes what the head's placement reads."""
    cfg = Config.fromfile(repo_root / 'configs/srn_r18_face_mosaic.py').model
    if placement:
        cfg.neck.first_levels = sum(placement.values(), ())
        cfg.bbox_head.update(placement)
    model = MODELS.build(dict(cfg, _scope_='mmdet'))
    model.init_weights()
    return model.train()


def batch(model: torch.nn.Module, size: int, boxes: list[list[int]]) -> dict:
    """An image of noise with brighter faces."""
    image = torch.randint(0, 128, (3, size, size), dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes:
        image[:, y1:y2, x1:x2] += 100
    faces = InstanceData(
        bboxes=torch.tensor(boxes).float(), labels=torch.zeros(len(boxes)).long()
    )
    meta = dict(img_shape=(size, size), scale_factor=(1.0, 1.0))
    sample = DetDataSample(gt_instances=faces, metainfo=meta)
    data = dict(inputs=[image], data_samples=[sample])
    return model.data_preprocessor(data, training=True)


@pytest.mark.parametrize(
    ('stc', 'str_'), [((), ()), ((0,), ()), ((), (4,)), ((0, 1, 2), (3, 4, 5))]
)
def test_every_parameter_learns(repo_root, stc, str_):
    """With the levels it needs, nothing is left over that DDP would stop at."""
    model = build(repo_root, stc_levels=stc, str_levels=str_)
    losses = model(**batch(model, 64, [[8, 8, 40, 48]]), mode='loss')
    model.parse_losses(losses)[0].backward()
    left = [n for n, p in model.named_parameters() if p.grad is None]
    assert left == []


def test_one_image_is_learned(repo_root):
    """The loss falls and the faces are found, by the default placements."""
    model = build(repo_root)
    boxes = [[8, 10, 24, 30], [44, 40, 76, 80], [66, 6, 90, 36], [8, 60, 28, 85]]
    data = batch(model, 96, boxes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(60):
        total, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.2 * totals[0]

    model.eval()
    with torch.no_grad():
        [sample] = model(**data, mode='predict')
    found = sample.pred_instances[sample.pred_instances.scores > 0.3].bboxes
    overlaps = bbox_overlaps(torch.tensor(boxes).float(), found)
    assert (overlaps.max(dim=1).values > 0.5).all()
    assert (overlaps.max(dim=0).values > 0.5).float().mean() > 0.7
