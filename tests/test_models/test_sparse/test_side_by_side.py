import torch
from torch import nn

from mmdet_srn.models.sparse.cells import Cells, Rows
from mmdet_srn.models.sparse.side_by_side import SideBySide
from mmdet_srn.models.sparse.sparse_layers import sparse_chain


def test_outputs_of_an_anchor_are_side_by_side():
    """Also where they are computed at some cells only."""
    convs = nn.Conv2d(6, 3 * 4, 1), nn.Conv2d(6, 3 * 2, 3, padding=1)
    module, x = SideBySide(3, *convs), torch.randn(1, 6, 5, 7)
    found, (one, other) = module(x), [conv(x) for conv in convs]
    assert found.shape[1] == module.out_channels == 18
    for anchor in range(3):
        own = found[:, 6 * anchor : 6 * anchor + 6]
        assert torch.equal(own[:, :4], one[:, 4 * anchor : 4 * anchor + 4])
        assert torch.equal(own[:, 4:], other[:, 2 * anchor : 2 * anchor + 2])

    chain, cells = sparse_chain(module), Cells(torch.rand(5, 7) < 0.3)
    need = chain.reach(cells)
    assert cells.count < need.count < 35
    rows = chain(Rows.of(x[0], need), cells)
    torch.testing.assert_close(rows.values, found[0].permute(1, 2, 0)[cells.mask])
    assert chain.work_at(need, cells) == need.count * 72 + cells.count * 6 * 54
