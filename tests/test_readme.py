"""What the README shows works."""

import re

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmdet_srn  # noqa: F401


@pytest.fixture(scope='module')
def readme(repo_root) -> str:
    return (repo_root / 'README.md').read_text(encoding='utf-8')


def test_reuse_of_the_head_in_retinanet(readme, tmp_path):
    """The README's config: builds, learns for two steps, predicts."""
    section = readme.split('## Use SRNHead in your detector')[1]
    code = re.search(r'```python\n(.*?)```', section, re.DOTALL)[1]
    path = tmp_path / 'reuse.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    model.init_weights()
    head = model.bbox_head
    assert (head.num_classes, head.num_base_priors, len(head.stc_levels)) == (80, 9, 2)

    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[10.0, 10.0, 60.0, 70.0], [40.0, 20.0, 110.0, 90.0]]),
            labels=torch.tensor([3, 41]),
        ),
        metainfo=dict(img_shape=(96, 128), scale_factor=(1.0, 1.0)),
    )
    batch = dict(inputs=[torch.randint(0, 256, (3, 96, 128))], data_samples=[sample])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    model.train()
    totals = []
    for _ in range(2):
        data = model.data_preprocessor(batch, training=True)
        total, _ = model.parse_losses(
            model(data['inputs'], data['data_samples'], mode='loss')
        )
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0]
    assert model.bbox_head.conv_cls_first.weight.grad.any()

    model.eval()
    data = model.data_preprocessor(batch)
    with torch.no_grad():
        result = model(data['inputs'], data['data_samples'], mode='predict')[0]
    assert result.pred_instances.bboxes.shape[1] == 4


def test_files_that_it_names_exist(readme, repo_root):
    named = re.findall(r'(?:configs|tools)/[\w/.]+\.(?:py|sh)', readme)
    assert len(named) > 5
    assert [name for name in named if not (repo_root / name).is_file()] == []
    pictures = re.findall(r'!\[[^]]*\]\(([^)]+)\)', readme)
    assert pictures
    assert [name for name in pictures if not (repo_root / name).is_file()] == []
