import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.analysis.sparse_and_dense import SparseAndDense
from mmdet_srn.analysis.sparse_cost import SparseComparison, SparseCost
from mmdet_srn.models.necks import RFE
from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.deferred_map import Added

KINDS = ('no', 'conv', 'sum')


def build(kind='no', share=0.1, size=(12, 16)):
    subnet = nn.Sequential(
        ConvModule(8, 8, 3, padding=1), RFE(8), ConvModule(8, 8, 3, padding=1)
    )
    conv, lateral = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
    above = Added(torch.randn(1, 6, *size))
    deferred = dict(no=(), conv=(conv,), sum=(lateral, above, conv))[kind]
    source = torch.randn(1, 6 if kind == 'conv' else 8, *size)
    modules = (subnet, nn.Conv2d(8, 3, 1))
    return SparseAndDense(modules, source, torch.rand(size) < share, deferred)


def flops(function):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.02, 0.3, 1.1])
def test_both_are_the_modules_at_the_cells(kind, share):
    ways = build(kind, share)
    expected = ways.source
    for module in (*ways.deferred, *ways.modules):
        expected = module(expected)
    expected = expected[0].permute(1, 2, 0)[ways.cells]
    for _ in range(2):
        for found in (ways.sparse(), ways.dense()):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        ways.renew()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.02, 0.3, 1.1])
def test_work_is_what_is_computed_each_time(kind, share):
    ways = build(kind, share)
    for _ in range(2):
        assert flops(ways.sparse) == 2 * ways.sparse_work
        assert flops(ways.dense) == 2 * ways.dense_work
    assert flops(ways.choose) == 0


@pytest.mark.parametrize('kind', KINDS)
def test_chooses_as_the_cost_says(kind, monkeypatch):
    chosen = set()
    for share in (0.02, 0.1, 0.5):
        ways = build(kind, share)
        case = SparseComparison(ways.sparse_work, ways.dense_work, 1.0, 1.0)
        even = ways.dense_work - ways.sparse_work
        for cost in ((1.35, 0.0), (1.0, even), (1.0, even - 1), (3.0, 1e5)):
            monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', cost)
            assert ways.choose() == SparseCost(*cost).pays(case)
            chosen.add(ways.choose())
    assert chosen == {False, True}


@pytest.mark.parametrize('changed', ['modules', 'conv'])
def test_weights_are_laid_out_once_until_renewed(changed):
    ways = build('conv')
    with torch.no_grad():
        before = ways.sparse()
        part = ways.deferred[0] if changed == 'conv' else ways.modules[0][0].conv
        part.weight.mul_(2)
        assert torch.equal(ways.sparse(), before)
        ways.renew()
        assert not torch.equal(ways.sparse(), before)
        torch.testing.assert_close(ways.sparse(), ways.dense(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('deferred', [False, True])
def test_unknown_modules(deferred):
    x, cells = torch.randn(1, 8, 5, 4), torch.ones(5, 4, dtype=torch.bool)
    known, unknown = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, groups=2)
    with pytest.raises(ValueError, match='at some cells only'):
        if deferred:
            SparseAndDense([known], x, cells, [unknown])
        else:
            SparseAndDense([unknown], x, cells)
