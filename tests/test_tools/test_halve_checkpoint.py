"""tools/model_converters/halve_checkpoint.py"""

import hashlib

import pytest
import torch

from mmdet_srn.checkpoint_file import load_checkpoint
from tests.tool_loader import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('halve_checkpoint')


def save(path, **values):
    weight = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    state = {'a.weight': weight, 'bn.num_batches_tracked': torch.tensor(7), **values}
    for name in ('avg_factors', 'query_avg_factors'):
        state[f'bbox_head.{name}.total'] = torch.ones(3)
    meta = dict(dataset_meta=dict(classes=('face',), palette=[(1, 2, 3)]), iter=9)
    torch.save(dict(state_dict=state, meta=meta, optimizer=dict(lr=1.0)), path)
    return weight


def test_weights_and_classes_stay(tool, tmp_path, capsys):
    weight = save(tmp_path / 'iter_9.pth')
    out = tmp_path / 'new' / 'small.pth'
    assert tool.main([str(tmp_path / 'iter_9.pth'), str(out)]) == 0
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert digest in capsys.readouterr().out
    found = load_checkpoint(out)
    assert set(found) == {'state_dict', 'meta'}
    assert set(found['state_dict']) == {'a.weight'}
    assert torch.equal(found['state_dict']['a.weight'], weight.half())
    assert found['meta'] == dict(dataset_meta=dict(classes=('face',)))


def test_what_float16_cannot_hold(tool, tmp_path, capsys):
    save(tmp_path / 'a.pth', big=torch.tensor([1e6]))
    assert tool.main([str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth')]) == 1
    assert 'big has values' in capsys.readouterr().err
    assert not (tmp_path / 'b.pth').exists()
