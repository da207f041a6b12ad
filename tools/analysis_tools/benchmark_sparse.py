"""Time the second step at some cells of a map and all over it, and fit the cost.

    python benchmark_sparse.py
    python benchmark_sparse.py --threads 1 --runs 9 --json sparse.json
    python benchmark_sparse.py --sizes 160x120 80x60 --shares 30 50 --dtype bf16

``PartialMap`` (mmdet_srn/models/sparse/partial_map.py) chooses between the two for each
level and image by ``SPARSE_COST``: sparse where factor * sparse multiply-adds +
overhead is less than the dense multiply-adds. Here both are timed as ``predict`` uses
them, on SRN's class subnet (3x3, RFE, 3x3, predictor, of 256 channels), with and
without the layers that the neck deferred. Weights and maps are random; the cells are
in clusters like those of faces.

Runs are interleaved, so that other load affects both. Times are medians of wall clock;
the columns are

    left %     cells at which an output is asked for
    deferred   layers computed before: the neck's 3x3 convolution (conv), or its
               lateral 1x1, the sum with the map above and the 3x3 (sum)
    G sparse, G dense
               1e9 multiply-adds
    ratio      of these
    choice ms  time of choosing, whatever is chosen
    chosen     what the present cost chooses
    lost %     time that the chosen takes more than the faster one

Contiguous weights are laid out anew in each sparse call, as for a batch's first map in
``predict``; there, later levels lay out only the deferred layers' weights, and later
images none: --keep-weights times these. Weights channels last are read as they lie.

Below the table, a cost fitted to these cases is printed beside the present one, with
the number of wrong choices and what they lose against the faster way and against dense.
The fit is by least squares of the error in the sparse time, as a
share of the slower one's time: a small map counts as much as a large one, and cases far
below the limit, where any cost chooses rightly, count little.

Exit status: 0, 1 after an error, 2 for wrong arguments.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from mmdet_srn.benchmark.arguments import (
    add_common_options,
    percent,
    read_size,
    run_benchmark,
)
from mmdet_srn.benchmark.machine import describe_machine
from mmdet_srn.benchmark.measuring import time_interleaved
from mmdet_srn.benchmark.survivors import clustered_cells
from mmdet_srn.benchmark.variants import FORMATS, PRECISIONS, precision_context
from mmdet_srn.model_loader import check_device
from mmdet_srn.models.dense_heads import SRNHead
from mmdet_srn.models.sparse.cells import Cells, Rows
from mmdet_srn.models.sparse.deferred_map import Added
from mmdet_srn.models.sparse.partial_map import SPARSE_COST, PartialMap, SparseModule

CHANNELS = 256
#: Maps of P2 to P4 of 640x480 and 1024x1024 pixels, and two smaller ones.
SIZES = (
    *((160, 120), (80, 60), (40, 30), (20, 15), (10, 8)),
    *((256, 256), (128, 128), (64, 64)),
)
MEASURED = ['sparse_multiply_adds', 'dense_multiply_adds', 'sparse_ms', 'dense_ms']
SHARES = (0.5, 1, 3, 10, 20, 30, 40, 50, 60, 75, 90)


class Cost(NamedTuple):
    """Cost of sparse multiply-adds in dense ones, as in ``SPARSE_COST``."""

    factor: float
    overhead: float


class SparseAndDense:
    """Both ways in which ``PartialMap`` may compute some cells of one image.

    Attributes:
        sparse_work: Multiply-adds of ``sparse``.
        dense_work: Multiply-adds of ``dense``.

    Args:
        modules: What reads the map: a subnet and its predictor, in evaluation mode.
        source: The map (1, C, H, W), or what ``deferred`` makes it of.
        cells: Boolean (H, W), at least one.
        deferred: Layers that the neck left to the reader, as in ``DeferredMap``.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        source: Tensor,
        cells: Tensor,
        deferred: Sequence[nn.Module] = (),
    ) -> None:
        self.modules, self.deferred = modules, deferred
        self.source, self.cells = source, cells
        self.renew()
        wanted = Cells(cells)
        need = self._reader.chain.reach(wanted)
        self.sparse_work = self._map().sparse_work(self._reader, need, wanted)
        self.dense_work = self._map().dense_work(self._reader)

    def renew(self) -> None:
        """Forget how the weights were laid out for the sparse computation."""
        self._reader = SparseModule(*self.modules, always=True)
        self._maker = SparseModule(*self.deferred) if self.deferred else None

    def sparse(self) -> Tensor:
        """Compute the cells alone, (number of cells, C')."""
        return self._map().apply(self._reader, Cells(self.cells))

    def dense(self) -> Tensor:
        """Compute the whole map, and read the cells, (number of cells, C')."""
        feature_map = self.source
        if self._maker is not None:
            feature_map = self._maker.dense(feature_map)
        return Rows.of(self._reader.dense(feature_map)[0], Cells(self.cells)).values

    def choose(self) -> bool:
        """Choose as ``PartialMap`` does; return whether sparse."""
        chosen, feature_map = SparseModule(*self.modules), self._map()
        wanted = Cells(self.cells)
        return feature_map.may_pay(chosen) and feature_map.sparse_pays(
            chosen, chosen.chain.reach(wanted), wanted
        )

    def _map(self) -> PartialMap:
        """Make a map of which nothing is computed yet."""
        return PartialMap(self.source, self._maker)


def fit_cost(cases: pd.DataFrame) -> Cost:
    """Fit factor and overhead, neither below 0, by least squares.

    The sparse times, in multiply-adds at the rate of the same map's dense computation,
    are predicted as factor * sparse multiply-adds + overhead.
    """
    sparse_work, dense_work, sparse_ms, dense_ms = cases[MEASURED].to_numpy(float).T
    target = sparse_ms * dense_work / dense_ms
    weight = 1 / np.maximum(target, dense_work)
    terms = weight[:, None] * np.stack([sparse_work, np.ones_like(sparse_work)], axis=1)
    units = np.linalg.norm(terms, axis=0)  # a factor is about 1, an overhead 1e8
    solution, _ = nnls(terms / units, weight * target)
    return Cost(*(solution / units).tolist())


def choose(cost: Cost, cases: pd.DataFrame) -> pd.DataFrame:
    """Tell what a cost chooses, and what that loses against the better and dense."""
    sparse_work, dense_work, sparse_ms, dense_ms = (cases[name] for name in MEASURED)
    pays = cost.factor * sparse_work + cost.overhead < dense_work
    chosen_ms = sparse_ms.where(pays, dense_ms)
    return pd.DataFrame(
        dict(
            chosen=np.where(pays, 'sparse', 'dense'),
            lost_percent=100 * (chosen_ms / np.minimum(sparse_ms, dense_ms) - 1),
            lost_to_dense_percent=100 * (chosen_ms / dense_ms - 1),
        )
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = partial(parser.add_argument, nargs='+')
    shown = ' '.join(f'{width}x{height}' for width, height in SIZES)
    text = f'of the maps, in cells (default: {shown})'
    add('--sizes', type=read_size, default=SIZES, metavar='WxH', help=text)
    shown = ' '.join(map(str, SHARES))
    text = f'cells left, and at least one cluster (default: {shown})'
    add('--shares', type=percent, default=SHARES, metavar='PERCENT', help=text)
    add = parser.add_argument
    add('--dtype', choices=('fp32', *PRECISIONS), default='fp32')
    text = 'memory format of maps and weights (default: channels_last on a CPU)'
    add('--format', choices=tuple(FORMATS), help=text)
    add('--keep-weights', action='store_true', help='lay weights out once, see above')
    add_common_options(parser, least_runs=1)
    args = parser.parse_args(argv)
    if min(args.shares) == 0:
        parser.error('--shares: 0 leaves nothing to compute')
    return args


def make_cases(
    args: argparse.Namespace, device: torch.device
) -> Iterator[tuple[str, str, SparseAndDense]]:
    """Yield name of the map's size, what is deferred, and both ways."""
    torch.manual_seed(0)
    name = args.format or ('channels_last' if device.type == 'cpu' else 'contiguous')
    placed = dict(device=device, memory_format=FORMATS[name])
    head = SRNHead(1, CHANNELS, feat_channels=CHANNELS).eval().to(**placed)
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(**placed)
    lateral = nn.Conv2d(CHANNELS, CHANNELS, 1).to(**placed)
    for width, height in args.sizes:
        source = torch.randn(1, CHANNELS, height, width, device=device)
        source = source.contiguous(memory_format=FORMATS[name])
        deferred = dict(no=(), conv=(conv,), sum=(lateral, Added(source), conv))
        generator = torch.Generator().manual_seed(0)
        for share in args.shares:
            cells = clustered_cells(height, width, share / 100, generator).to(device)
            for kind, layers in deferred.items():
                modules = (head.cls_subnet, head.conv_cls)
                ways = SparseAndDense(modules, source, cells, layers)
                yield f'{width}x{height}', kind, ways


def measure(args: argparse.Namespace, device: torch.device) -> pd.DataFrame:
    """Time all cases."""
    rows = []
    number = 3 * len(args.sizes) * len(args.shares)
    for name, deferred, ways in tqdm(make_cases(args, device), total=number):
        # One context for all calls keeps the dense weights in its type, as the first
        # step does in ``predict``.
        with torch.no_grad(), precision_context(args.dtype, device):
            seconds = time_interleaved(
                [ways.sparse, ways.dense, ways.choose],
                args.runs,
                before=(lambda: None) if args.keep_weights else ways.renew,
            )
        left = 100 * int(ways.cells.sum()) / ways.cells.numel()
        work = ways.sparse_work, ways.dense_work
        rows.append([name, left, deferred, *work, *(1e3 * each for each in seconds)])
    columns = ['size', 'left_percent', 'deferred', *MEASURED, 'choice_ms']
    return pd.DataFrame(rows, columns=columns)


def print_tables(cases: pd.DataFrame, costs: dict[str, dict[str, Any]]) -> None:
    """Print the figures of all cases, and the costs with how well they choose."""
    names = dict(size='map', left_percent='left %', lost_percent='lost %')
    names |= dict(zip(MEASURED[:2], ['G sparse', 'G dense'], strict=True))
    names |= {f'{way}_ms': f'{way} ms' for way in ('sparse', 'dense', 'choice')}
    table = cases.rename(columns=names)
    table[['G sparse', 'G dense']] /= 1e9
    table.insert(5, 'ratio', table['G sparse'] / table['G dense'])
    formats = ('', '.1f', '', '.3f', '.3f', '.3f', '.2f', '.2f', '.2f', '', '.1f')
    print(tabulate(table, 'keys', 'plain', showindex=False, floatfmt=formats))
    print()
    table = pd.DataFrame(costs).map(lambda v: f'{v:.4g}' if isinstance(v, float) else v)
    print(tabulate(table, ['', *costs], 'plain', disable_numparse=True))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, fit and print all; return the figures."""
    check_device(args.device)
    device = torch.device(args.device)
    precision_context(args.dtype, device)
    machine = describe_machine(args.device)
    print(f'{machine}\n{args.dtype}, medians of {args.runs} calls\n')
    present = Cost(*SPARSE_COST.get(device.type, (1.0, 0.0)))
    with patch.dict(SPARSE_COST, {device.type: present}):
        cases = measure(args, device)
    costs = {}
    for name, cost in (('present', present), ('fitted', fit_cost(cases))):
        choices = choose(cost, cases)
        lost = choices.lost_percent
        costs[name] = dict(
            cost._asdict(), cases=len(cases), wrong=int((lost > 0).sum())
        )
        costs[name]['mean_lost_percent'] = lost.mean()
        for what in ('lost', 'lost_to_dense'):
            worst = choices[f'{what}_percent'].idxmax()
            size, left, deferred = cases.iloc[worst, :3]
            at = f'{size}, {left:.1f} % left'
            at += '' if deferred == 'no' else f', {deferred} deferred'
            costs[name][f'most_{what}_percent'] = choices[f'{what}_percent'].max()
            costs[name][f'most_{what}_at'] = at
    cases = cases.join(choose(present, cases)[['chosen', 'lost_percent']])
    print_tables(cases, costs)
    options = dict(dtype=args.dtype, runs=args.runs, keep_weights=args.keep_weights)
    return dict(machine=machine, **options, cases=cases.to_dict('records'), costs=costs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    return run_benchmark('benchmark_sparse', run, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
