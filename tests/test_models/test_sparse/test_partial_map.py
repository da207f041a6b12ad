import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.models.necks import RFE
from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.cells import Cells
from mmdet_srn.models.sparse.deferred_map import DeferredMap, to_dense
from mmdet_srn.models.sparse.partial_map import PartialMap, PartialMaps, SparseModule


def output_conv(seed=0):
    torch.manual_seed(seed)
    return nn.Conv2d(6, 8, 3, padding=1)


def reader(seed=1, **kwargs):
    torch.manual_seed(seed)
    subnet = nn.Sequential(
        ConvModule(8, 8, 3, padding=1), RFE(8), ConvModule(8, 8, 3, padding=1)
    )
    return SparseModule(subnet, nn.Conv2d(8, 3, 1), **kwargs)


def some(share, height=30, width=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Cells(torch.rand(height, width, generator=generator) < share)


def flops(function, *args):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = function(*args)
    return counter.get_total_flops(), result


@pytest.mark.parametrize('deferred', [False, True])
@pytest.mark.parametrize('share', [0.002, 0.3, 1.1])
@pytest.mark.parametrize('always', [False, True])
def test_values_are_those_of_the_whole_map(deferred, share, always):
    source = torch.randn(2, 6 if deferred else 8, 30, 40).double()
    conv, module = output_conv().double(), reader(always=always)
    module.dense.double()
    x = DeferredMap(source, conv) if deferred else source
    expected = module.dense(to_dense(x)).permute(0, 2, 3, 1)
    cells = some(share)
    for image, part in enumerate(PartialMaps(x).images):
        found = part.apply(module, cells)
        torch.testing.assert_close(
            found, expected[image][cells.mask], rtol=0, atol=1e-12
        )


def test_bf16_is_as_near_to_fp32_as_the_dense_one():
    x = torch.randn(1, 8, 30, 40)
    module, cells = reader(always=True), some(0.2)
    exact = module.dense(x)[0].permute(1, 2, 0)[cells.mask]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        dense = module.dense(x)[0].permute(1, 2, 0)[cells.mask]
        sparse = PartialMap(x).apply(module, cells)
    assert sparse.dtype == dense.dtype == torch.bfloat16
    errors = [(found.float() - exact).pow(2).mean().sqrt() for found in (dense, sparse)]
    assert errors[1] < 1.5 * errors[0] < 0.03


@pytest.mark.parametrize('deferred', [False, True])
def test_the_cheaper_one_is_chosen(deferred, monkeypatch):
    """By multiply-adds, a factor and an overhead."""
    conv = SparseModule(output_conv()) if deferred else None
    source = torch.randn(1, 6 if deferred else 8, 30, 40)

    def cost(module, cells):
        return flops(PartialMap(source, conv).apply, module, cells)[0]

    dense = cost(reader(), some(1.1))
    for share in (0.001, 0.1, 0.9):
        cells = some(share)
        sparse = cost(reader(always=True), cells)
        for factor, overhead in ((1.0, 0), (3.0, 0), (1.0, 0.3 * dense / 2)):
            monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (factor, overhead))
            pays = factor * sparse + 2 * overhead < dense
            assert cost(reader(), cells) == (sparse if pays else dense)
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 1e12))
    assert cost(reader(), some(0.001)) == dense


def test_what_is_computed_is_not_computed_again(monkeypatch):
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    source = torch.randn(1, 6, 30, 40)
    many = some(0.02)
    few = Cells(many.mask & some(0.5, seed=1).mask)
    assert 0 < few.count < many.count
    always, auto = reader(always=True), reader()
    conv = SparseModule(output_conv())
    of_conv = conv.chain.work_at(*[auto.chain.reach(few)] * 2)
    of_reader = auto.chain.work_at(auto.chain.reach(few), few)

    partial = PartialMap(source, conv)
    partial.apply(always, many)
    assert flops(partial.apply, always, few)[0] == 2 * of_reader
    # other cells are
    other = Cells(~many.mask & some(0.01, seed=2).mask)
    assert flops(partial.apply, always, other)[0] > 2 * auto.chain.work_at(
        auto.chain.reach(other), other
    )

    partial = PartialMap(source, conv)
    partial.apply(auto, some(1.1))  # the whole map
    assert flops(partial.apply, auto, few)[0] == 2 * of_reader
    assert flops(partial.apply, auto, some(1.1))[0] == 2 * auto.chain.work * 30 * 40

    assert flops(PartialMap(source, conv).apply, auto, few)[0] == 2 * (
        of_reader + of_conv
    )


def test_unknown_layers_are_computed_on_the_whole_map():
    x = torch.randn(1, 8, 12, 10)
    cells = some(0.1, 12, 10)
    module = SparseModule(nn.Conv2d(8, 4, 3, padding=1, groups=2), always=True)
    assert module.chain is None
    expected = module.dense(x)[0].permute(1, 2, 0)[cells.mask]
    assert torch.equal(PartialMap(x).apply(module, cells), expected)
    # an unknown convolution leaves nothing to defer
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=2)
    (part,) = PartialMaps(DeferredMap(x, conv)).images
    assert part.conv is None and torch.equal(part.source, conv(x))


@pytest.mark.parametrize('deferred', [False, True])
def test_all_images_at_once(deferred):
    source, conv = torch.randn(3, 6 if deferred else 8, 12, 10), output_conv()
    x = DeferredMap(source, conv) if deferred else source
    maps = PartialMaps(x)
    work, found = flops(lambda: maps.whole)
    assert torch.equal(found, to_dense(x))
    assert work == (2 * 3 * 120 * conv.weight.numel() if deferred else 0)
    assert flops(lambda: maps.whole)[0] == 0  # not computed again


def test_weights_are_laid_out_once_for_all_images():
    """But where a sum is each image's own."""
    source, conv = torch.randn(3, 6, 5, 4), output_conv()
    convs = {id(part.conv) for part in PartialMaps(DeferredMap(source, conv)).images}
    assert len(convs) == 1
    late = (DeferredMap(source, nn.Conv2d(6, 6, 1)) + source).then(conv)
    assert len({id(part.conv) for part in PartialMaps(late).images}) == 3


@pytest.mark.parametrize('share', [0.02, 1.1])
def test_a_deferred_sum_of_each_image(share, monkeypatch):
    """Convolved, summed and convolved at what is needed alone, or all over."""
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
    lateral, conv, module = nn.Conv2d(7, 6, 1), output_conv(), reader()
    source, above = torch.randn(2, 7, 30, 40), torch.randn(2, 6, 30, 40)
    x = (DeferredMap(source, lateral) + above).then(conv)
    expected = module.dense(conv(lateral(source) + above)).permute(0, 2, 3, 1)
    cells = some(share)
    need = module.chain.reach(cells)
    for image, part in enumerate(PartialMaps(x).images):
        work, found = flops(part.apply, module, cells)
        torch.testing.assert_close(found, expected[image][cells.mask])
        predicted = (
            module.chain.work_at(need, cells)
            + need.count * conv.weight.numel()
            + SparseModule(conv).chain.reach(need).count * lateral.weight.numel()
        )
        assert work == 2 * predicted
        # what is compared is what is computed
        (part,) = PartialMaps(
            (DeferredMap(source[:1], lateral) + above[:1]).then(conv)
        ).images
        dense = part.dense_work(module)
        for overhead, pays in (
            (dense - predicted - 1, True),
            (dense - predicted, False),
        ):
            monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, overhead))
            assert part.sparse_pays(module, need, cells) == pays
        monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0))
