import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmdet_srn.models.necks import RFE
from mmdet_srn.models.sparse import sparse_layers
from mmdet_srn.models.sparse.cells import Cells, Rows
from mmdet_srn.models.sparse.deferred_map import Added
from mmdet_srn.models.sparse.sparse_layers import sparse_chain


def conv(kernel, dilation=1, channels=(3, 3), **kwargs):
    kernel, dilation = nn.modules.utils._pair(kernel), nn.modules.utils._pair(dilation)
    padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    return nn.Conv2d(*channels, kernel, dilation=dilation, padding=padding, **kwargs)


def with_statistics(module):
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    return module


def rfe(**kwargs):
    return RFE(in_channels=4, **kwargs)


def subnet(middle, **kwargs):
    return nn.Sequential(
        ConvModule(3, 4, 3, padding=1, **kwargs),
        *middle,
        ConvModule(4, 5, 3, padding=1, **kwargs),
        nn.Conv2d(5, 2, 1),
    )


BN = dict(norm_cfg=dict(type='BN'))
KNOWN = {
    '3x3': lambda: conv(3),
    '1x1': lambda: conv(1, channels=(3, 5)),
    '1x5': lambda: conv((1, 5)),
    '7x1, dilated': lambda: conv((7, 1), dilation=(2, 1)),
    'two by two, dilated': lambda: conv(2, dilation=2, channels=(3, 4)),
    'act first': lambda: ConvModule(
        3, 4, 3, padding=1, order=('act', 'norm', 'conv'), inplace=False, **BN
    ),
    'sync batch norm': lambda: revert_sync_batchnorm(
        nn.Sequential(conv(3, channels=(3, 4)), nn.SyncBatchNorm(4))
    ),
    'activations': lambda: nn.Sequential(
        conv(3), nn.SiLU(inplace=True), conv((1, 3)), nn.GELU(), nn.Identity()
    ),
    'pointwise only': lambda: nn.Sequential(nn.Sigmoid(), conv(1, channels=(3, 2))),
    'SRN': lambda: subnet([rfe()]),
    'SRN with batch norm': lambda: subnet([rfe(**BN)], **BN),
    'RetinaNet': lambda: subnet([ConvModule(4, 4, 3, padding=1) for _ in range(2)]),
}

places = st.sampled_from(['none', 'one', 'corners', 'border', 'some', 'many', 'all'])


def choose(place, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.zeros(height, width, dtype=torch.bool)
    if place == 'one':
        cells.view(-1)[torch.randint(height * width, (1,), generator=generator)] = True
    elif place == 'corners':
        cells[:: max(height - 1, 1), :: max(width - 1, 1)] = True
    elif place == 'border':
        cells[[0, -1]] = True
        cells[:, [0, -1]] = True
    elif place != 'none':
        share = dict(some=0.05, many=0.5, all=1.1)[place]
        cells |= torch.rand(height, width, generator=generator) < share
    return Cells(cells)


@pytest.mark.parametrize('name', KNOWN)
@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    place=places,
    seed=st.integers(0, 99),
    limit=st.sampled_from([1, 2000, 2**20]),
)
def test_it_is_the_dense_one(name, size, place, seed, limit):
    """Cells anywhere, on maps down to one cell, in one matrix product or several."""
    torch.manual_seed(seed)
    module = with_statistics(KNOWN[name]()).double().eval()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    cells = choose(place, *size, seed)
    chain = sparse_chain(module)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setitem(sparse_layers.GATHERED_BYTES, 'cpu', limit)
        before = x.clone()
        found = chain(Rows.of(x[0], chain.reach(cells)), cells)
        dense = module(x)
    assert found.cells is cells
    expected = dense[0].permute(1, 2, 0)[cells.mask]
    torch.testing.assert_close(found.values, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize('name', KNOWN)
def test_reach_is_what_the_output_depends_on(name):
    module = with_statistics(KNOWN[name]()).double().eval()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.1, 1)  # nothing cancels, no ReLU is off
    chain = sparse_chain(module)
    for place in ('one', 'corners', 'some'):
        cells = choose(place, 11, 17)
        x = torch.rand(1, 3, 11, 17, dtype=torch.float64, requires_grad=True)
        module(x)[0, :, cells.mask].sum().backward()
        assert torch.equal(chain.reach(cells).mask, x.grad[0].abs().sum(0) > 0)


@pytest.mark.parametrize('name', KNOWN)
def test_work_is_what_is_multiplied(name, monkeypatch):
    chain = sparse_chain(KNOWN[name]().eval())
    done = []
    stock = F.linear

    def counting(rows, weight, bias=None):
        done.append(len(rows) * weight.numel())
        return stock(rows, weight, bias)

    monkeypatch.setattr(sparse_layers.F, 'linear', counting)
    for place in ('one', 'some', 'many', 'all'):
        cells = choose(place, 11, 17)
        need = chain.reach(cells)
        done.clear()
        chain(Rows.of(torch.randn(3, 11, 17), need), cells)
        assert chain.work_at(need, cells) == sum(done)
    assert sum(done) == chain.work * 11 * 17


def test_work_of_one_cell():
    """Counted by hand: what the released subnet needs around one cell, and no more."""
    chain = sparse_chain(subnet([rfe()]))
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[20, 20] = True
    cells = Cells(mask)
    need = chain.reach(cells)
    # the last 3x3 reads 3x3 cells, the rectangles 3x7 and 7x3, the first 3x3 one more
    assert need.count == 5 * 9 + 9 * 5 - 5 * 5
    first = (3 * 7 + 7 * 3 - 3 * 3) * (9 * 3 * 4)
    into = (3 * 7 + 7 * 3 - 3 * 3) * (4 * 4 * 1)
    rectangles = 3 * 3 * (5 + 5 + 3 + 3)
    out_of = 3 * 3 * (4 * 1 + 4 * 4)
    last = 9 * 4 * 5 + 5 * 2
    work = chain.work_at(need, cells)
    assert work == first + into + rectangles + out_of + last


def hooked(register):
    module = subnet([rfe()])
    getattr(module[0].conv, register)(lambda *args: None)
    return module


def patched():
    module = subnet([rfe()])
    module[1].fuse.forward = module[1].fuse.forward
    return module


class OwnBlock(RFE):
    pass


UNKNOWN = {
    'group norm': lambda: subnet([rfe()], norm_cfg=dict(type='GN', num_groups=1)),
    'instance norm': lambda: subnet([rfe(norm_cfg=dict(type='IN'))]),
    'batch norm without statistics': lambda: nn.BatchNorm2d(
        3, track_running_stats=False
    ),
    'stride': lambda: nn.Conv2d(3, 3, 3, stride=2, padding=1),
    'no padding': lambda: nn.Conv2d(3, 3, 3),
    'padding by name': lambda: nn.Conv2d(3, 3, 3, padding='same'),
    'groups': lambda: conv(3, groups=3),
    'circular': lambda: conv(3, padding_mode='circular'),
    'reflected': lambda: ConvModule(3, 3, 3, padding=1, padding_mode='reflect'),
    'another convolution': lambda: nn.ConvTranspose2d(3, 3, 3, padding=1),
    'softmax over the map': lambda: nn.Softmax2d(),
    'pooling': lambda: nn.Sequential(conv(3), nn.AvgPool2d(3, 1, 1)),
    'own block': lambda: subnet([OwnBlock(4)]),
    'hook': lambda: hooked('register_forward_hook'),
    'pre-hook': lambda: hooked('register_forward_pre_hook'),
    'forward of its own': patched,
    'spectral norm': lambda: ConvModule(3, 3, 3, padding=1, with_spectral_norm=True),
    'in place on the input': lambda: ConvModule(
        3, 3, 3, padding=1, order=('act', 'conv', 'norm')
    ),
}


@pytest.mark.parametrize('name', UNKNOWN)
def test_unknown(name):
    assert sparse_chain(UNKNOWN[name]().eval()) is None


def test_batch_norm_is_known_in_eval_mode_alone():
    module = subnet([rfe(**BN)], **BN)
    assert sparse_chain(module.train()) is None
    assert sparse_chain(module.eval()) is not None


@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last]
)
def test_rows(memory_format):
    x = torch.randn(1, 5, 6, 7).to(memory_format=memory_format)
    cells = choose('many', 6, 7)
    fewer = Cells(cells.mask & choose('many', 6, 7, 1).mask)
    rows = Rows.of(x[0], cells)
    assert torch.equal(rows.values, x[0].permute(1, 2, 0)[cells.mask])
    assert torch.equal(rows.at(fewer), x[0].permute(1, 2, 0)[fewer.mask])
    assert rows.at(cells) is rows.values
    assert 0 < fewer.count < cells.count
    assert cells.holds(fewer) and cells.holds(cells) and not fewer.holds(cells)


def test_a_sum_is_of_one_image():
    added = Added(torch.randn(1, 4, 11, 17))
    layers = nn.Sequential(conv(3, channels=(3, 4)), added, conv(3, channels=(4, 2)))
    x, cells = torch.randn(1, 3, 11, 17), choose('some', 11, 17)
    chain = sparse_chain(layers)
    found = chain(Rows.of(x[0], chain.reach(cells)), cells).values
    torch.testing.assert_close(found, layers(x)[0].permute(1, 2, 0)[cells.mask])
    assert sparse_chain(Added(torch.randn(2, 4, 11, 17))) is None
