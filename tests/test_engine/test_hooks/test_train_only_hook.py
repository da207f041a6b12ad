"""Only the named modules are trained."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmdet_srn.engine import TrainOnlyHook


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 1)
        self.a_too = nn.Linear(2, 1)  # its name begins as the other's
        self.b = nn.ModuleDict(dict(c=nn.Linear(2, 1)))

    def forward(self, x):
        return self.a(x) + self.a_too(x) + self.b['c'](x)


def test_others_stay():
    torch.manual_seed(0)
    model = Twins()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    TrainOnlyHook(['a', 'b.c']).before_train(SimpleNamespace(model=model))
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    changed = {n for n, p in model.named_parameters() if not p.equal(before[n])}
    assert changed == {'a.weight', 'a.bias', 'b.c.weight', 'b.c.bias'}


def test_a_module_that_is_not_there():
    with pytest.raises(ValueError, match="'a_t'"):
        TrainOnlyHook(['a', 'a_t']).before_train(SimpleNamespace(model=Twins()))


@pytest.fixture
def one_process(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrapped_for_several_processes(one_process):
    """DDP would wait for the others' gradients for ever, and say so."""

    def wrap_model(cfg, model):
        return MMDistributedDataParallel(module=model)

    runner = SimpleNamespace(cfg={}, wrap_model=wrap_model)
    runner.model = wrap_model(None, Twins())
    TrainOnlyHook(['a']).before_train(runner)
    for _ in range(3):
        runner.model(torch.ones(1, 2)).sum().backward()
    names = {n for n, p in runner.model.module.named_parameters() if p.grad is not None}
    assert names == {'a.weight', 'a.bias'}
