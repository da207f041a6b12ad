import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

import mmdet_srn  # noqa: F401
from mmdet_srn.models.sparse.deferred_map import DeferredMap, to_dense


def build(**kwargs):
    torch.manual_seed(0)
    config = dict(
        type='SRNFPN',
        in_channels=[8, 16, 32, 64],
        out_channels=12,
        extra_channels=(32, 8),
    )
    neck = MODELS.build({**config, **kwargs})
    neck.init_weights()
    return neck


def stages(height, width, channels=(8, 16, 32, 64)):
    """Maps as a ResNet makes them of an input of this size."""
    maps = []
    for i, c in enumerate(channels):
        stride = 4 * 2**i
        maps.append(torch.randn(2, c, -(-height // stride), -(-width // stride)))
    return maps


def conv(module, x, **kwargs):
    return F.conv2d(x, module.weight, module.bias, **kwargs)


@pytest.mark.parametrize('size', [(203, 317), (64, 96)])
def test_against_the_plain_pyramids(size):
    neck = build()
    c2, c3, c4, c5 = inputs = stages(*size)
    outs = neck(inputs)
    assert len(outs) == 12

    c6 = conv(neck.extra_convs[0], c5, stride=2, padding=1)
    c7 = conv(neck.extra_convs[1], c6, stride=2, padding=1)
    for reducer, stage, out in zip(
        neck.reducers.values(), (c2, c3, c4, c5, c6, c7), outs[:6], strict=True
    ):
        torch.testing.assert_close(out, conv(reducer, stage))

    laterals = [
        conv(m.conv, c) for m, c in zip(neck.fpn.lateral_convs, inputs, strict=True)
    ]
    p6 = conv(neck.fpn.fpn_convs[4].conv, laterals[3], stride=2, padding=1)
    p7 = conv(neck.fpn.fpn_convs[5].conv, p6, stride=2, padding=1)
    for i in (2, 1, 0):
        laterals[i] = laterals[i] + F.interpolate(
            laterals[i + 1],
            size=laterals[i].shape[-2:],
            mode='bilinear',
            align_corners=True,
        )
    merged = [
        conv(neck.fpn.fpn_convs[i].conv, lateral, padding=1)
        for i, lateral in enumerate(laterals)
    ]
    for out, expected in zip(outs[6:], (*merged, p6, p7), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert [o.shape for o in outs[:6]] == [o.shape for o in outs[6:]]


def test_papers_variant():
    neck = build(add_extra_convs='on_output', upsample_cfg=dict(mode='nearest'))
    inputs = stages(128, 128)
    outs = neck(inputs)
    p5, p6 = outs[9], outs[10]
    expected = conv(neck.fpn.fpn_convs[4].conv, p5, stride=2, padding=1)
    torch.testing.assert_close(p6, expected)


@pytest.mark.parametrize('levels', [(), (0, 2), (4,), (1, 5)])
def test_only_the_levels_that_are_used(levels):
    neck, whole = build(first_levels=levels), build()
    assert [int(level) for level in neck.reducers] == list(levels)
    assert len(neck.extra_convs) == max(0, max(levels, default=-1) - 3)
    whole.load_state_dict(neck.state_dict(), strict=False)
    inputs = stages(96, 128)
    outs, expected = neck(inputs), whole(inputs)
    for level in range(6):
        assert torch.equal(outs[6 + level], expected[6 + level])
        if level in levels:
            assert torch.equal(outs[level], expected[level])
        else:
            assert outs[level] is outs[6 + level]


@pytest.mark.parametrize('levels', [(0,), (2, 0, 1), (0, 1, 2, 3)])
def test_deferred_levels(levels):
    plain, neck = build(), build(deferred_levels=levels)
    assert neck.state_dict().keys() == plain.state_dict().keys()
    neck.load_state_dict(plain.state_dict())
    inputs = stages(96, 64)
    late = [to_dense(m) for m in neck.eval()(inputs)]
    for found, expected in (
        (neck.train()(inputs), plain(inputs)),
        (late, plain.eval()(inputs)),
    ):
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours, theirs)
    deferred = [isinstance(m, DeferredMap) for m in neck.eval()(inputs)]
    assert deferred == [False] * 6 + [level in levels for level in range(6)]


def test_of_the_finest_level_the_lateral_is_deferred_as_well():
    """And no other, of whose sum a level is made."""
    neck = build(deferred_levels=(0, 1)).eval()
    inputs = stages(96, 64)
    fine, coarse = neck(inputs)[6:8]
    assert fine.source is inputs[0] and coarse.source is not inputs[1]
    lateral, above, conv = fine.layers
    assert lateral is neck.fpn.lateral_convs[0].conv
    assert conv is neck.fpn.fpn_convs[0].conv
    assert above.addend.shape[-2:] == inputs[0].shape[-2:]
    # a pyramid of one stage makes the next level of its lateral
    neck = build(in_channels=[8], extra_channels=[16], deferred_levels=(0,)).eval()
    late = neck(inputs[:1])
    assert late[2].source is not inputs[0]
    assert torch.equal(to_dense(late[2]), neck.train()(inputs[:1])[2])


def test_deferred_levels_of_the_first_step():
    """Without the 1x1 convolution where nothing is read."""
    plain, neck = build(), build(deferred_first_levels=(0, 4))
    neck.load_state_dict(plain.state_dict())
    inputs = stages(96, 64)
    assert all(isinstance(m, torch.Tensor) for m in neck.train()(inputs))
    late = neck.eval()(inputs)
    assert [i for i, m in enumerate(late) if isinstance(m, DeferredMap)] == [0, 4]
    assert late[0].source is inputs[0]
    for ours, theirs in zip(late, plain.eval()(inputs), strict=True):
        assert torch.equal(to_dense(ours), theirs)


def test_compiles_as_one_graph():
    """A compiler cannot trace the sum of a tensor with something else."""
    neck = build(deferred_levels=(0, 1, 2)).eval()
    compiled = torch.compile(neck, backend='eager', fullgraph=True)
    inputs = stages(96, 64)
    with torch.no_grad():
        for ours, theirs in zip(compiled(inputs), neck(inputs), strict=True):
            torch.testing.assert_close(to_dense(ours), to_dense(theirs))


def test_exports():
    """Also where the sum is deferred, at sizes that the export does not know."""
    neck = build(deferred_levels=(0, 1, 2)).eval()

    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.neck = neck

        def forward(self, *inputs):
            return [to_dense(each) for each in self.neck(inputs)]

    size = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(
        Dense(), tuple(stages(320, 256)), dynamic_shapes=((size,) * 4,), strict=False
    )
    other = stages(256, 384)
    for ours, theirs in zip(program.module()(*other), Dense()(*other), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(first_levels=(6,)), '0 to 5'),
        (dict(first_levels=(-1,)), '0 to 5'),
        (dict(first_levels=(1, 1)), '0 to 5'),
        (dict(deferred_levels=(4,)), 'deferred_levels'),
        (dict(deferred_first_levels=(6,)), 'deferred_first_levels'),
        (dict(deferred_first_levels=(1,), first_levels=(0,)), 'deferred_first'),
        (dict(deferred_levels=(-1,)), 'deferred_levels'),
        (dict(deferred_levels=(3,), add_extra_convs='on_output'), 'deferred_levels'),
        (dict(deferred_levels=(3,), add_extra_convs=False), 'deferred_levels'),
    ],
)
def test_wrong_levels(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize('channels', [(8, 16, 32), (8, 16, 32, 128), (16, 32, 64)])
def test_maps_of_another_backbone(channels):
    with pytest.raises(ValueError, match=r'in_channels=\(8, 16, 32, 64\).*out_indices'):
        build()(stages(64, 64, channels))
