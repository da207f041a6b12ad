"""GridMaxIoUAssigner against mmdet's MaxIoUAssigner, bit for bit."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_srn.models.task_modules import GridMaxIoUAssigner
from mmdet_srn.models.task_modules.assigners import grid_max_iou_assigner

PAPER = [
    dict(pos_iou_thr=0.7, neg_iou_thr=0.3, match_low_quality=False),
    dict(pos_iou_thr=0.5, neg_iou_thr=0.4, match_low_quality=False),
]
RETINA = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=[8, 16, 32, 64, 128],
)


def grid(size, generator='SRNAnchorGenerator'):
    """All anchors of a square image."""
    if isinstance(generator, str):
        generator = dict(type=generator)
    generator = TASK_UTILS.build(generator)
    sizes = [(-(-size // w), -(-size // w)) for w, _ in generator.strides]
    return torch.cat(generator.grid_priors(sizes, device='cpu'))


def instances(bboxes):
    return InstanceData(bboxes=bboxes, labels=torch.arange(len(bboxes)) % 3)


def run(assigner, priors, bboxes, ignored=None):
    ignored = None if ignored is None else instances(ignored)
    return assigner.assign(InstanceData(priors=priors), instances(bboxes), ignored)


def check(priors, bboxes, ignored=None, chunk_size=65_536, **kwargs):
    """Both assigners' matches are the same; returns them."""
    torch.manual_seed(3)  # perm_repeat_gt_cfg draws numbers
    with mock.patch.object(grid_max_iou_assigner, 'CHUNK_SIZE', chunk_size):
        found = run(GridMaxIoUAssigner(**kwargs), priors, bboxes, ignored)
    torch.manual_seed(3)
    expected = run(MaxIoUAssigner(**kwargs), priors, bboxes, ignored)
    assert found.num_gts == expected.num_gts
    for name in ('gt_inds', 'labels'):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    return found


def boxes_of(centre, size):
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def refine(boxes, noise, generator):
    """Boxes as a regression would make of them."""
    size = boxes[:, 2:] - boxes[:, :2]
    shift, scale = torch.randn(2, len(boxes), 2, generator=generator) * noise
    return boxes_of(
        (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * size, scale.exp() * size
    )


def faces(number, canvas, generator, low=1.0, high=200.0):
    """Boxes anywhere, sizes even over the octaves."""
    span = np.log(high / low)
    size = low * (torch.rand(number, 2, generator=generator) * span).exp()
    return boxes_of(torch.rand(number, 2, generator=generator) * canvas, size)


# ------------------------------------------------------------- against mmdet's

options = st.fixed_dictionaries(
    dict(
        pos_iou_thr=st.sampled_from([0.7, 0.5, 0.3, 1.0, 1.5, 1e-3, 0.0]),
        neg_iou_thr=st.sampled_from(
            [0.3, 0.4, 0.5, 0.7, (0.0, 0.3), (0.1, 0.3), (0.05, 0.6), 0, 0.0, 1e-4]
        ),
        min_pos_iou=st.sampled_from([0.0, 0.3, 0.1, 0.6, 1e-5, -0.5, -1.0]),
        match_low_quality=st.booleans(),
        gt_max_assign_all=st.booleans(),
        ignore_iof_thr=st.sampled_from([-1, 0.5, 0.1, 0.9]),
        ignore_wrt_candidates=st.booleans(),
        gpu_assign_thr=st.sampled_from([-1, 3]),
    )
)
seeds = st.integers(0, 2**32 - 1)
chunk_sizes = st.sampled_from([65_536, 1_000, 97])


@st.composite
def whole_boxes(draw, max_size):
    """Whole pixels: equal overlaps and overlaps at a threshold abound."""
    place, side = st.integers(-4, 24), st.integers(0, 12)
    rows = draw(st.lists(st.tuples(place, place, side, side), max_size=max_size))
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


@settings(max_examples=80, deadline=None)
@given(
    priors=whole_boxes(40),
    bboxes=whole_boxes(8),
    ignored=st.none() | whole_boxes(3),
    chunk_size=st.sampled_from([65_536, 5, 1]),
    kwargs=options,
)
def test_whole_pixels(priors, bboxes, ignored, chunk_size, kwargs):
    check(priors, bboxes, ignored, chunk_size, **kwargs)


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    anchors=st.sampled_from(['SRNAnchorGenerator', RETINA]),
    size=st.sampled_from([64, 100, 160]),
    part=st.sampled_from(['all', 'some', 'inside', 'few']),
    refined=st.sampled_from([0, 0.1, 1.0]),
    kind=st.sampled_from(['any', 'like', 'equal', 'twice', 'outside', 'giant', 'tiny']),
    number=st.sampled_from([1, 3, 30]),
    num_ignored=st.sampled_from([0, 0, 1, 10]),
    double=st.tuples(st.booleans(), st.booleans()),
    given_options=st.tuples(chunk_sizes, options),
)
def test_anchors(
    seed, anchors, size, part, refined, kind, number, num_ignored, double, given_options
):
    generator = torch.Generator().manual_seed(seed)
    priors = grid(size, anchors)
    if refined:  # the coarser levels, as in SRN's second step
        last = len(priors) // 4
        priors[-last:] = refine(priors[-last:], refined, generator)
    if part == 'some':
        priors = priors[torch.rand(len(priors), generator=generator) < 0.3]
    elif part == 'inside':
        priors = priors[((priors >= 0) & (priors < size)).all(1)]
    elif part == 'few':
        priors = priors[torch.randperm(len(priors), generator=generator)[:9]]
    bboxes = faces(number, size, generator)
    if kind in ('like', 'equal', 'twice'):
        pick = torch.randint(len(priors), (number,), generator=generator)
        bboxes = (
            priors[pick] if kind == 'equal' else refine(priors[pick], 0.1, generator)
        )
        bboxes = bboxes.repeat(2, 1) if kind == 'twice' else bboxes
    elif kind == 'outside':
        bboxes[::2] += 1e5
    elif kind == 'giant':
        bboxes[::2] *= 1e4
    elif kind == 'tiny':
        bboxes[::2, 2:] = bboxes[::2, :2] + 1e-3
    if double[0]:
        priors = priors.double()
    if double[1]:
        bboxes = bboxes.double()
    ignored = faces(num_ignored, size, generator, 5, 100) if num_ignored else None
    check(priors, bboxes, ignored, given_options[0], **given_options[1])


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    num_priors=st.integers(1, 500),
    octaves=st.sampled_from([0.1, 3, 20]),
    number=st.integers(1, 40),
    chunk_size=chunk_sizes,
    kwargs=options,
)
def test_boxes_of_any_size(seed, num_priors, octaves, number, chunk_size, kwargs):
    """No grid at all, from a few sizes to almost as many as boxes."""
    generator = torch.Generator().manual_seed(seed)
    priors = faces(num_priors, 200, generator, 10, 10 * 2**octaves)
    bboxes = faces(number, 200, generator, 10, 10 * 2**octaves)
    check(priors, bboxes, None, chunk_size, **kwargs)


@pytest.mark.parametrize(
    ('step', 'width', 'expected'),
    [(0, 7, 1), (0, 5, -1), (0, 3, -1), (0, 2, 0)]
    + [(1, 7, 1), (1, 5, 1), (1, 4, -1), (1, 3, 0)],
)
def test_exact_thresholds(step, width, expected):
    """A tenth of a prior per pixel: IoU is a threshold, as float32 reads it."""
    priors = torch.tensor([[2.0, 2.0, 12.0, 12.0], [400.0, 0.0, 410.0, 10.0]])
    result = check(priors, torch.tensor([[2.0, 2.0, 2.0 + width, 12.0]]), **PAPER[step])
    assert result.gt_inds.tolist() == [expected, 0]
    assert result.max_overlaps[0] == (torch.tensor(width / 10) if expected else 0)


# ------------------------------------------------------------------ edge cases


@pytest.mark.parametrize('claim_all', [True, False])
@pytest.mark.parametrize('min_pos_iou', [0.0, 0.01, -1.0])
@pytest.mark.parametrize(
    'odd',
    [
        [5.0, 5.0, 5.0, 20.0],  # no width
        [5.0, 5.0, 20.0, 3.0],  # upside down
        [20.0, 20.0, 5.0, 5.0],  # both, so that the area is positive
        [-1e6, -1e6, 1e6, 1e6],  # everything lies inside
    ],
)
def test_odd_boxes(odd, min_pos_iou, claim_all):
    """A box without overlap claims, at min_pos_iou 0, every prior there is."""
    priors = torch.cat([grid(64), torch.tensor([odd])])
    bboxes = torch.tensor([odd, [4.0, 4.0, 20.0, 24.0], odd, [30.0, 30.0, 45.0, 50.0]])
    kwargs = dict(pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=min_pos_iou)
    kwargs.update(gt_max_assign_all=claim_all, ignore_iof_thr=0.5)
    for ignored in (None, torch.tensor([[0.0, 0.0, 30.0, 30.0], odd])):
        check(priors, bboxes, ignored, **kwargs)


@pytest.mark.parametrize('where', ['prior', 'box', 'ignored'])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize('low_quality', [False, True])
def test_not_finite(value, where, low_quality):
    """What diverged training refines anchors to."""
    priors, generator = grid(64), torch.Generator().manual_seed(0)
    bboxes, ignored = faces(5, 64, generator), faces(3, 64, generator)
    dict(prior=priors, box=bboxes, ignored=ignored)[where][1, 2] = value
    kwargs = dict(pos_iou_thr=0.5, neg_iou_thr=0.4, match_low_quality=low_quality)
    check(priors, bboxes, ignored, 100, **kwargs, ignore_iof_thr=0.5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    'unusual',
    [
        {},
        dict(iou_calculator=dict(type='BboxOverlaps2D', scale=512.0, dtype='fp16')),
        dict(iou_calculator=dict(type='BboxOverlaps2D_GLIP')),
        dict(perm_repeat_gt_cfg=dict(iou_thr=0.7, perm_range=0.01)),
    ],
    ids=str,
)
def test_other_arithmetic(dtype, unusual):
    generator = torch.Generator().manual_seed(0)
    priors = grid(100).to(dtype)
    bboxes = refine(priors[::50].float(), 0.2, generator).to(dtype).repeat(2, 1)
    found = check(priors, bboxes, None, 99, pos_iou_thr=0.5, neg_iou_thr=0.4, **unusual)
    assert (found.gt_inds > 0).any()


def test_box_types_and_scores():
    """Boxes in mmdet's class, and boxes with a fifth column."""
    priors = grid(64)
    bboxes = priors[::70] + 1
    kwargs = dict(pos_iou_thr=0.5, neg_iou_thr=0.4)
    scores = torch.rand(len(bboxes), 1)
    check(priors, torch.cat([bboxes, scores], dim=1), **kwargs)
    check(HorizontalBoxes(priors), HorizontalBoxes(bboxes), **kwargs)


# ---------------------------------------------------------------------- memory


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made under it."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize('low_quality', [False, True])
@pytest.mark.parametrize('kind', ['faces', 'one place', 'giant'])
def test_memory_is_bounded(kind, low_quality, monkeypatch):
    """By the priors and the chunk, however many faces there are."""
    generator = torch.Generator().manual_seed(0)
    priors, bboxes = grid(128), faces(500, 128, generator, 4, 100)
    if kind == 'one place':  # each pair overlaps by a threshold
        priors = refine(priors[:1].repeat(len(priors), 1), 0.01, generator)
        bboxes = refine(priors[:500], 0.01, generator)
    elif kind == 'giant':  # each pair overlaps a little
        bboxes += torch.tensor([-1.0, -1.0, 1.0, 1.0]) * 2e4
    kwargs = dict(pos_iou_thr=0.5, neg_iou_thr=0.4, match_low_quality=low_quality)
    chunk_size = 5000
    monkeypatch.setattr(grid_max_iou_assigner, 'CHUNK_SIZE', chunk_size)
    with Largest() as largest:
        run(GridMaxIoUAssigner(**kwargs), priors, bboxes)
    # a few numbers of each, where mmdet's matrix is of all pairs
    bound = 64 * (len(priors) + len(bboxes) + chunk_size)
    assert largest.size < bound < len(priors) * len(bboxes)
