import pytest
import torch
from torch import nn

from mmdet_srn.models.cpu import matrix_conv
from mmdet_srn.models.cpu.matrix_conv import MOST_CELLS, MatrixConv2d


def pair(*args, **kwargs) -> tuple[MatrixConv2d, nn.Conv2d]:
    """Ours and torch's with the same weights, in eval mode."""
    torch.manual_seed(0)
    stock = nn.Conv2d(*args, **kwargs)
    ours = MatrixConv2d(*args, **kwargs)
    ours.load_state_dict(stock.state_dict())
    return ours.eval(), stock.eval()


@pytest.fixture
def products(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what was laid out for a product."""
    found = []
    unfold = matrix_conv.F.unfold

    def spy(*args, **kwargs):
        columns = unfold(*args, **kwargs)
        found.append(tuple(columns.shape))
        return columns

    monkeypatch.setattr(matrix_conv.F, 'unfold', spy)
    return found


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=3, stride=2, padding=1, bias=False),
        dict(kernel_size=(1, 5), padding=(0, 2)),
        dict(kernel_size=(3, 1), stride=(1, 3), dilation=(2, 1)),
    ],
)
@pytest.mark.parametrize('shape', [(1, 7, 9), (3, 8, 6), (2, 5, 3)])
@pytest.mark.parametrize('memory', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('weights', [torch.contiguous_format, torch.channels_last])
def test_is_the_convolution(kwargs, shape, memory, weights, products):
    ours, stock = pair(6, 10, **kwargs)
    ours.to(memory_format=weights)
    number, height, width = shape
    x = torch.randn(number, 6, height, width).contiguous(memory_format=memory)
    torch.testing.assert_close(ours(x), stock(x))
    assert len(products) == 1


@pytest.mark.parametrize('memory', [torch.contiguous_format, torch.channels_last])
def test_weights_stay_as_they_lie(memory, monkeypatch):
    """Of 75 MB a copy would take longer than the product."""
    ours, _ = pair(6, 10, 3, stride=2, padding=1)
    ours.to(memory_format=memory)
    stock, used = torch.addmm, []
    monkeypatch.setattr(
        torch, 'addmm', lambda *args: (used.append(args[1]), stock(*args))[1]
    )
    ours(torch.randn(1, 6, 7, 9))
    assert [weight.data_ptr() for weight in used] == [ours.weight.data_ptr()]


@pytest.mark.parametrize(
    ('number', 'side', 'product'), [(1, 22, True), (2, 22, False), (1, 23, False)]
)
def test_only_on_few_cells(number, side, product, products):
    """The cells of all images count."""
    assert 22 * 22 <= MOST_CELLS['cpu'] < 23 * 23
    ours, stock = pair(2, 3, 3, padding=1)
    x = torch.randn(number, 2, side, side)
    torch.testing.assert_close(ours(x), stock(x))
    assert bool(products) == product


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
def test_other_precisions(dtype, autocast, products):
    ours, stock = (conv.to(dtype) for conv in pair(16, 8, 3, stride=2, padding=1))
    x = torch.randn(2, 16, 6, 7).to(dtype)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        found, expected = ours(x), stock(x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)
    assert len(products) == 1


def test_training_groups_and_other_padding_are_torchs(products):
    for kwargs in ({}, dict(groups=2), dict(padding=1, padding_mode='reflect')):
        ours, stock = pair(4, 6, 3, **kwargs)
        x = torch.randn(1, 4, 8, 8)
        assert torch.equal(ours.train(not kwargs)(x), stock(x))
    assert not products
