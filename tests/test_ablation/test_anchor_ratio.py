"""Figure 1a against a count anchor by anchor."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmdet_srn  # noqa: F401
from mmdet_srn.ablation.anchor_ratio import count_anchors, summarize
from tests.training import SMALL_MODEL

ROOT = Path(__file__).resolve().parents[2]
FACES = [[[8.0, 8, 40, 48], [70, 70, 78, 80]], [[16.0, 10, 110, 125]]]


@pytest.mark.parametrize(
    ('stc', 'str_'), [((0, 1, 2), (3, 4, 5)), ((0, 3), (3, 4)), ((), (4,)), ((1,), ())]
)
def test_counts(stc, str_):
    cfg = Config.fromfile(ROOT / 'configs/srn_r50_fpn_widerface.py')
    cfg.merge_from_dict(SMALL_MODEL)
    cfg.model.bbox_head.update(stc_levels=stc, str_levels=str_)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet')).eval()
    head = model.bbox_head
    with torch.no_grad():
        for conv, std in ((head.conv_reg, 0.05), (head.conv_cls, 0.1)):
            torch.nn.init.normal_(conv.weight, std=std)
        if stc:
            # around theta, so that some are dropped
            torch.nn.init.normal_(head.conv_cls_first.weight, std=0.5)
            head.conv_cls_first.bias.fill_(-4.6)
    samples = [
        DetDataSample(
            gt_instances=InstanceData(
                bboxes=torch.tensor(faces), labels=torch.zeros(len(faces)).long()
            ),
            metainfo=dict(img_shape=(128, 128), pad_shape=(128, 128)),
        )
        for faces in FACES
    ]
    data = dict(inputs=torch.randn(2, 3, 128, 128), data_samples=samples)
    counts = count_anchors(model, data)

    with torch.no_grad():
        first_cls, first_reg, cls, _ = model(data['inputs'], mode='tensor')
    sizes = [m.shape[-2:] for m in cls]
    anchors = head.prior_generator.grid_priors(sizes, device='cpu')
    expected = {name: torch.zeros(2, 6, dtype=torch.long) for name in counts}
    for level, boxes in enumerate(anchors):
        for image, faces in enumerate(FACES):
            moved, left = boxes, torch.ones(len(boxes), dtype=torch.bool)
            if level in str_:
                deltas = first_reg[str_.index(level)][image]
                deltas = deltas.permute(1, 2, 0).reshape(-1, 4)
                moved = head.bbox_coder.decode(boxes, deltas)
            if level in stc:
                logits = first_cls[stc.index(level)][image].permute(1, 2, 0).flatten()
                left = 1 - logits.sigmoid() <= 0.99
            for moment, (own, kept) in enumerate(
                ((boxes, torch.ones_like(left)), (moved, left))
            ):
                best = bbox_overlaps(own, torch.tensor(faces)).amax(dim=1)
                for value, keep in zip(best.tolist(), kept.tolist(), strict=True):
                    if keep and value >= 0.5:
                        expected['positive'][moment, level] += 1
                    elif keep and value < 0.4:
                        expected['negative'][moment, level] += 1
    for name in counts:
        assert torch.equal(counts[name], expected[name]), name
    changed = [
        level
        for level in range(6)
        if any(c[0, level] != c[1, level] for c in counts.values())
    ]
    assert set(changed) <= set(stc) | set(str_)
    assert changed  # the first step does something here


def test_summary():
    counts = dict(
        positive=torch.tensor([[10, 4, 0], [8, 12, 0]]),
        negative=torch.tensor([[900, 100, 50], [90, 75, 50]]),
    )
    result = summarize(counts, (0,), (1, 2))
    # 10 : 900 becomes 8 : 90
    assert result['stc'] == dict(
        positive=[10, 8],
        negative=[900, 90],
        gain=pytest.approx(8.0),
        positives_kept=0.8,
    )
    assert result['str']['gain'] == pytest.approx((12 / 125) / (4 / 150))
    assert summarize(counts, (), (2,))['str']['gain'] is None
    assert 'stc' not in summarize(counts, (), (2,))
