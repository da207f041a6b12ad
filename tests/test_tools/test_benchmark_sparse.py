import json
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from scipy.optimize import minimize
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_srn.models.necks import RFE
from mmdet_srn.models.sparse import partial_map
from mmdet_srn.models.sparse.deferred_map import Added
from tests.tool_loader import load_tool

TINY = ['--sizes', '9x6', '4x3', '--shares', '5', '60', '--runs=1']
KINDS = ('no', 'conv', 'sum')
TOOL = load_tool('benchmark_sparse')
Cost, MEASURED = TOOL.Cost, TOOL.MEASURED


@pytest.fixture
def tool():
    """With few channels; all but the work is the same."""
    module, threads = load_tool('benchmark_sparse'), torch.get_num_threads()
    module.CHANNELS = 32
    yield module
    torch.set_num_threads(threads)


def build(kind='no', share=0.1, size=(12, 16)):
    subnet = nn.Sequential(
        ConvModule(8, 8, 3, padding=1), RFE(8), ConvModule(8, 8, 3, padding=1)
    )
    conv, lateral = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
    above = Added(torch.randn(1, 6, *size))
    deferred = dict(no=(), conv=(conv,), sum=(lateral, above, conv))[kind]
    source = torch.randn(1, 6 if kind == 'conv' else 8, *size)
    modules = (subnet, nn.Conv2d(8, 3, 1))
    return TOOL.SparseAndDense(modules, source, torch.rand(size) < share, deferred)


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
        assert flops(ways.sparse) == 2 * ways.sparse_work
        assert flops(ways.dense) == 2 * ways.dense_work
        ways.renew()
    assert flops(ways.choose) == 0


@pytest.mark.parametrize('kind', KINDS)
def test_chooses_as_the_cost_says(kind, monkeypatch):
    chosen = set()
    for share in (0.02, 0.1, 0.5):
        ways = build(kind, share)
        work = [[ways.sparse_work, ways.dense_work, 1.0, 1.0]]
        case = pd.DataFrame(work, columns=MEASURED)
        even = ways.dense_work - ways.sparse_work
        for cost in ((1.35, 0.0), (1.0, even), (1.0, even - 1), (3.0, 1e5)):
            monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', cost)
            sparse = TOOL.choose(Cost(*cost), case).chosen[0] == 'sparse'
            assert ways.choose() == sparse
            chosen.add(sparse)
    assert chosen == {False, True}


def test_weights_are_laid_out_once_until_renewed():
    ways = build('conv')
    with torch.no_grad():
        before = ways.sparse()
        for part in (ways.deferred[0], ways.modules[0][0].conv):
            part.weight.mul_(2)
        assert torch.equal(ways.sparse(), before)
        ways.renew()
        torch.testing.assert_close(ways.sparse(), ways.dense(), rtol=1e-5, atol=1e-5)


def cases(factor, overhead, noise=0.0, number=40):
    """Maps of all sizes, each computed densely at a rate of its own."""
    rng = np.random.default_rng(0)
    dense = 10 ** rng.uniform(8, 11, number)
    sparse, rate = dense * rng.uniform(0.01, 1, number), rng.uniform(2e7, 6e7, number)
    work = (factor * sparse + overhead) * np.exp(noise * rng.normal(size=number))
    table = np.stack([sparse, dense, work / rate, dense / rate], axis=1)
    return pd.DataFrame(table, columns=MEASURED)


@settings(max_examples=50)
@given(factor=st.floats(0.1, 10), overhead=st.just(0) | st.floats(1e6, 1e11))
def test_recovers_what_the_times_were_made_by(factor, overhead):
    fitted = TOOL.fit_cost(cases(factor, overhead))
    assert fitted.factor == pytest.approx(factor, rel=1e-5)
    assert fitted.overhead == pytest.approx(overhead, rel=1e-5, abs=1e3)


def test_is_the_least_of_its_errors():
    """Those of the documentation, found in another way; speed does not count."""
    measured = cases(1.3, 2e8, noise=0.2)
    sparse_work, dense_work, sparse, dense = measured.to_numpy().T

    def error(cost):
        ms = (cost[0] * sparse_work + 1e8 * cost[1]) * dense / dense_work
        return (((ms - sparse) / np.maximum(sparse, dense)) ** 2).sum()

    options = dict(xatol=1e-8, fatol=1e-12)
    found = minimize(error, [1, 1], method='Nelder-Mead', options=options).x
    fitted = TOOL.fit_cost(measured)
    assert fitted == pytest.approx((found[0], 1e8 * found[1]), rel=1e-4)
    assert fitted.factor != pytest.approx(1.3, rel=1e-3)
    measured[MEASURED[2:]] *= 10.0 ** (np.arange(40) % 3)[:, None]
    assert TOOL.fit_cost(measured) == pytest.approx(fitted)


def test_no_overhead_below_zero():
    rows = [[n, 10**9, 2e-9 * n - 0.05, 1.0] for n in (10**8, 10**9)]
    fitted = TOOL.fit_cost(pd.DataFrame(rows, columns=MEASURED))
    assert fitted.overhead == 0 and 0 < fitted.factor < 2


def table(text):
    """Words of the cases' lines."""
    lines = text.split('\nmap ')[1].split('\n\n')[0].splitlines()
    return [line.split() for line in lines[1:]]


def test_measures(tool, tmp_path, capsys):
    out = tmp_path / 'out.json'
    assert tool.main([*TINY, f'--json={out}', '--threads=1']) == 0
    text = capsys.readouterr().out
    assert '1 threads, torch' in text and 'fp32, medians of 1 calls' in text
    report = json.loads(out.read_text())
    rows = report['cases']
    assert [(row['size'], row['deferred']) for row in rows] == [
        (size, kind) for size, _, kind in product(('9x6', '4x3'), range(2), KINDS)
    ]
    for row, line in zip(rows, table(text), strict=True):
        left, sparse, dense = row['left_percent'], row[MEASURED[0]], row[MEASURED[1]]
        assert line[:3] == [row['size'], f'{left:.1f}', row['deferred']]
        assert line[5] == f'{sparse / dense:.3f}' and line[9] == row['chosen']
        assert 5 <= left <= 100 and 0 < sparse <= dense
        assert min(row['sparse_ms'], row['dense_ms'], row['choice_ms']) > 0
    fitted, present = (report['costs'][name] for name in ('fitted', 'present'))
    expected = tool.fit_cost(pd.DataFrame(rows))
    assert (fitted['factor'], fitted['overhead']) == pytest.approx(expected)
    assert (present['factor'], present['overhead']) == partial_map.SPARSE_COST['cpu']


def test_work_is_that_of_the_class_subnet():
    """3x3, RFE and 3x3 of 256 channels, and a predictor of two anchors."""
    args = TOOL.parse_args(TINY)
    made = [ways for _, _, ways in TOOL.make_cases(args, torch.device('cpu'))]
    plain, deferred, added = made[:3]
    conv, rfe = 256 * 256 * 9, 4 * 64 * 256 + 64 * 64 * (5 + 5 + 3 + 3 + 4) + 256 * 256
    assert plain.dense_work == 9 * 6 * (2 * conv + rfe + 256 * 2)
    assert deferred.dense_work == plain.dense_work + 9 * 6 * conv
    assert added.dense_work == deferred.dense_work + 9 * 6 * 256 * 256
    assert torch.equal(plain.cells, deferred.cells)
    assert torch.equal(plain.cells, added.cells)


def test_fit_and_choices(tool, monkeypatch, tmp_path, capsys):
    out = tmp_path / 'out.json'
    made = cases(2, 3e7)
    made.insert(0, 'size', [f'{n}x{n}' for n in range(len(made))])
    made.insert(1, 'left_percent', 50.0)
    made.insert(2, 'deferred', 'conv')
    monkeypatch.setattr(tool, 'measure', lambda *args: made.assign(choice_ms=1.0))
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0.0))
    assert tool.main([f'--json={out}']) == 0
    report = json.loads(out.read_text())
    fitted, present = report['costs']['fitted'], report['costs']['present']
    assert fitted['factor'] == pytest.approx(2) and fitted['wrong'] == 0
    assert fitted['overhead'] == pytest.approx(3e7)
    assert fitted['most_lost_percent'] == 0 >= fitted['most_lost_to_dense_percent']
    losses = [row['lost_percent'] for row in report['cases']]
    assert {row['chosen'] for row in report['cases']} == {'sparse'}
    to_dense = 100 * (made['sparse_ms'] / made['dense_ms'] - 1)
    np.testing.assert_allclose(losses, to_dense.clip(lower=0))
    assert present['wrong'] == sum(loss > 0 for loss in losses) > 3
    assert present['mean_lost_percent'] == pytest.approx(np.mean(losses))
    most = pytest.approx(max(losses))
    assert present['most_lost_percent'] == present['most_lost_to_dense_percent'] == most
    worst = losses.index(max(losses))
    assert present['most_lost_at'] == f'{worst}x{worst}, 50.0 % left, conv deferred'
    text = capsys.readouterr().out.split('\n\n')[-1]
    lines = dict(re.split('  +', line, maxsplit=1) for line in text.splitlines()[1:])
    assert lines['wrong'].split() == [str(present['wrong']), '0']
    assert lines['cases'].split() == ['40', '40']
    assert present['most_lost_at'] in lines['most_lost_at']


@pytest.mark.parametrize(
    ('more', 'channels_last'),
    [([], True), (['--format=channels_last'], True), (['--format=contiguous'], False)],
)
def test_memory_format(tool, more, channels_last):
    args = tool.parse_args([*TINY, *more])
    for _, _, ways in tool.make_cases(args, torch.device('cpu')):
        assert ways.source.is_contiguous() != channels_last
        assert ways.modules[0][0].conv.weight.is_contiguous() != channels_last


@pytest.mark.parametrize(
    ('options', 'dtype', 'renewals'),
    [
        # when made, and before each of three calls to warm up and to time
        (['--dtype=bf16'], torch.bfloat16, 1 + 3 * 2),
        (['--keep-weights'], torch.float32, 1),
    ],
)
def test_precision_and_layout(tool, monkeypatch, options, dtype, renewals):
    found, renewed = [], []
    for name, seen in (('sparse', found), ('dense', found), ('renew', renewed)):
        stock = getattr(tool.SparseAndDense, name)
        call = lambda self, stock=stock, seen=seen: seen.append(stock(self))  # noqa: E731
        monkeypatch.setattr(tool.SparseAndDense, name, call)
    assert tool.main(['--sizes=2x2', '--shares=5', '--runs=1', *options]) == 0
    # both ways, with what is deferred or not, to warm up and timed
    assert [each.dtype for each in found] == 2 * 3 * 2 * [dtype]
    assert len(renewed) == 3 * renewals


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--device=cuda:99'], "device 'cuda:99' cannot be used"),
        (['--dtype=fp16'], 'fp16 is for GPUs'),
        (['--json=nowhere/out.json'], 'no folder nowhere'),
    ],
)
def test_says_what_is_wrong(tool, more, message, capsys):
    assert tool.main([*TINY, *more]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith('benchmark_sparse: ') and message in captured.err
    assert not captured.out  # before anything is timed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--sizes', '160'], "'160' is no size"),
        (['--shares', '5', '0'], '0 leaves nothing to compute'),
        (['--dtype', 'int8'], 'invalid choice'),
    ],
)
def test_wrong_arguments(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(arguments)
    assert error.value.code == 2 and message in capsys.readouterr().err
