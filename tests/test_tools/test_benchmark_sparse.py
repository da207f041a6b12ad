"""The tool end to end on tiny maps; the parts have tests of their own."""

import json
from dataclasses import dataclass

import pytest
import torch

from mmdet_srn.analysis.sparse_and_dense import SparseAndDense
from mmdet_srn.analysis.sparse_cost import SparseComparison
from mmdet_srn.analysis.sparse_cost_fit import fit_sparse_cost
from mmdet_srn.models.sparse import partial_map
from tests.tool_loader import load_tool

TINY = ['--sizes', '9x6', '4x3', '--shares', '5', '60', '--runs=1']


@pytest.fixture
def tool():
    threads = torch.get_num_threads()
    yield load_tool('benchmark_sparse')
    torch.set_num_threads(threads)


@dataclass
class Clock:
    """Says the time that calls are made to take."""

    now: float = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def pretend(tool, monkeypatch):
    """Let both ways and the choice take times by their work; nothing is computed."""
    clock = Clock()

    def taking(seconds):
        def call(self):
            clock.now += seconds(self)

        return call

    monkeypatch.setattr(tool, 'device_clock', lambda device: clock)
    for name, seconds in dict(
        sparse=lambda ways: (2 * ways.sparse_work + 3e7) / 1e10,
        dense=lambda ways: ways.dense_work / 1e10,
        choose=lambda ways: 1e-3,
    ).items():
        monkeypatch.setattr(SparseAndDense, name, taking(seconds))


def table(text):
    """Lines of the cases."""
    lines = text.splitlines()
    [start] = [n for n, each in enumerate(lines) if each.startswith('map ')]
    return [each.split() for each in lines[start + 1 : lines.index('', start)]]


def test_measures(tool, tmp_path, capsys):
    out = tmp_path / 'out.json'
    assert tool.main([*TINY, f'--json={out}', '--threads=1']) == 0
    text = capsys.readouterr().out
    assert '1 threads, torch' in text and 'fp32, medians of 1 calls' in text
    report = json.loads(out.read_text())
    rows, lines = report['cases'], table(text)
    assert [(row['size'], row['deferred']) for row in rows] == [
        (size, deferred)
        for size in ('9x6', '4x3')
        for _ in range(2)
        for deferred in ('no', 'conv', 'sum')
    ]
    cases = []
    for row, line in zip(rows, lines, strict=True):
        assert line[:3] == [
            row['size'],
            f'{row["left_percent"]:.1f}',
            row['deferred'],
        ]
        assert 5 <= row['left_percent'] <= 100
        sparse, dense = row['sparse_multiply_adds'], row['dense_multiply_adds']
        assert 0 < sparse <= dense
        assert float(line[5]) == pytest.approx(sparse / dense, abs=1e-3)
        assert min(row['sparse_ms'], row['dense_ms'], row['choice_ms']) > 0
        cases.append(
            SparseComparison(
                sparse, dense, row['sparse_ms'] / 1e3, row['dense_ms'] / 1e3
            )
        )
    fitted, present = report['costs']['fitted'], report['costs']['present']
    assert (fitted['factor'], fitted['overhead']) == pytest.approx(
        fit_sparse_cost(cases)
    )
    assert (present['factor'], present['overhead']) == partial_map.SPARSE_COST['cpu']


def test_work_is_that_of_the_class_subnet(tool):
    """3x3, RFE and 3x3 of 256 channels, and a predictor of two anchors."""
    args = tool.parse_args(TINY)
    made = [ways for _, _, ways in tool.make_cases(args, torch.device('cpu'))]
    plain, deferred, added = made[:3]
    conv, rfe = 256 * 256 * 9, 4 * 64 * 256 + 64 * 64 * (5 + 5 + 3 + 3 + 4) + 256 * 256
    assert plain.dense_work == 9 * 6 * (2 * conv + rfe + 256 * 2)
    assert deferred.dense_work == plain.dense_work + 9 * 6 * conv
    assert added.dense_work == deferred.dense_work + 9 * 6 * 256 * 256
    assert torch.equal(plain.cells, deferred.cells)
    assert torch.equal(plain.cells, added.cells)


def test_fit_and_choices(tool, pretend, monkeypatch, tmp_path, capsys):
    out = tmp_path / 'out.json'
    monkeypatch.setitem(partial_map.SPARSE_COST, 'cpu', (1.0, 0.0))
    sizes = ['40x30', '20x15', '10x8', '--shares', '1', '30', '45', '60']
    assert tool.main(['--sizes', *sizes, f'--json={out}']) == 0
    report = json.loads(out.read_text())
    fitted, present = report['costs']['fitted'], report['costs']['present']
    assert fitted['factor'] == pytest.approx(2) and fitted['wrong'] == 0
    assert fitted['overhead'] == pytest.approx(3e7)
    assert fitted['most_lost_percent'] == 0 >= fitted['most_lost_to_dense_percent']
    for row in report['cases']:
        sparse, dense = row['sparse_multiply_adds'], row['dense_multiply_adds']
        assert row['chosen'] == ('sparse' if sparse < dense else 'dense')
        assert row['choice_ms'] == pytest.approx(1)
        assert row['dense_ms'] == pytest.approx(dense / 1e7)
    losses = [row['lost_percent'] for row in report['cases']]
    assert present['wrong'] == sum(loss > 0 for loss in losses) > 3
    assert present['most_lost_percent'] == max(losses) > 20
    assert present['most_lost_to_dense_percent'] == pytest.approx(max(losses))
    worst = report['cases'][losses.index(max(losses))]
    assert present['most_lost_at'].startswith(f'{worst["size"]}, ')
    text = capsys.readouterr().out
    assert f'{present["wrong"]} of 36' in text and '0 of 36' in text
    for name, cost in (('present', present), ('fitted', fitted)):
        most = f'{cost["most_lost_percent"]:.1f} % slower than the better one'
        assert f'{name}: at most {most} ({cost["most_lost_at"]})' in text
        most = f'{cost["most_lost_to_dense_percent"]:.1f} % slower than dense'
        assert f'{name}: at most {most} ({cost["most_lost_to_dense_at"]})' in text
    assert [line[-2] for line in table(text)] == [r['chosen'] for r in report['cases']]


@pytest.mark.parametrize(
    ('more', 'channels_last'),
    [([], True), (['--format=channels_last'], True), (['--format=contiguous'], False)],
)
def test_memory_format(tool, more, channels_last):
    for _, _, ways in tool.make_cases(
        tool.parse_args([*TINY, *more]), torch.device('cpu')
    ):
        assert ways.source.is_contiguous() != channels_last
        assert ways.modules[0][0].conv.weight.is_contiguous() != channels_last
        assert ways.source.shape[1] == 256


def test_precision(tool, monkeypatch, tmp_path):
    found = []
    for name in ('sparse', 'dense'):
        stock = getattr(SparseAndDense, name)
        monkeypatch.setattr(
            SparseAndDense,
            name,
            lambda self, stock=stock: found.append(stock(self).dtype),
        )
    out = tmp_path / 'out.json'
    smallest = ['--sizes=2x2', '--shares=5', '--runs=1', f'--json={out}']
    for dtype, expected in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
        found.clear()
        assert tool.main([*smallest, f'--dtype={dtype}']) == 0
        assert json.loads(out.read_text())['dtype'] == dtype
        # both ways, with what is deferred or not, to warm up and timed
        assert found == 2 * 3 * 2 * [expected]


@pytest.mark.parametrize('keep', [False, True])
def test_weights_are_laid_out_anew(tool, pretend, keep, monkeypatch):
    renewed = []
    stock = SparseAndDense.renew
    monkeypatch.setattr(
        SparseAndDense, 'renew', lambda self: renewed.append(stock(self))
    )
    assert tool.main([*TINY, *(['--keep-weights'] if keep else [])]) == 0
    # when made, and before each of three calls to warm up and to time
    assert len(renewed) == 12 * (1 if keep else 1 + 3 * 2)


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
        (['--shares', '101'], 'not from 0 to 100'),
        (['--shares', '5', '0'], '0 leaves nothing to compute'),
        (['--runs', '0'], '0 is less than 1'),
        (['--threads', '0'], '0 is less than 1'),
        (['--dtype', 'int8'], 'invalid choice'),
    ],
)
def test_wrong_arguments(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(arguments)
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_defaults(tool):
    args = tool.parse_args([])
    assert (160, 120) in args.sizes and (10, 8) in args.sizes
    assert (args.dtype, args.device, args.format) == ('fp32', 'cpu', None)


def test_help(tool, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main(['--help'])
    text = capsys.readouterr().out
    assert error.value.code == 0
    for option in ('--sizes', '--shares', '--runs', '--threads', '--device', '--json'):
        assert option in text
