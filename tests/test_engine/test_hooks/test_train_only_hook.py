"""Only the named modules are trained."""

from types import SimpleNamespace

import pytest
import torch
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
