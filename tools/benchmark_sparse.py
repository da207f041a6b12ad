"""Times the second step at some cells of a map beside all over it, and fits the cost.

    python tools/benchmark_sparse.py
    python tools/benchmark_sparse.py --threads 1 --runs 9 --json sparse.json
    python tools/benchmark_sparse.py --sizes 160x120 80x60 --shares 30 50 --dtype bf16

``PartialMap`` (mmdet_srn/models/sparse/partial_map.py) chooses for each level and image
between the two, by ``SPARSE_COST``: sparse where factor * sparse multiply-adds +
overhead is less than the dense multiply-adds. Here both are timed where ``predict``
uses them, on SRN's class subnet (3x3, RFE, 3x3, predictor, of 256 channels), with and
without what the neck left to the reader. Weights and maps are random, the cells
clusters as faces leave them.

The ways take turns, so what else the machine does hits all. Times are medians of wall
clock; the columns are

    left %     cells at which an output is asked for
    deferred   what is computed before: the neck's 3x3 convolution (conv), or its
               lateral 1x1, the sum with the map above and the 3x3 (sum)
    G sparse, G dense
               1e9 multiply-adds
    ratio      of these
    choice ms  what choosing takes, whatever is chosen
    chosen     what the present cost chooses
    lost %     time that this takes more than the better one

Contiguous weights are laid out anew in each sparse call, as for the first map of a
batch in ``predict``. There later levels lay out the deferred layers' alone, and later
images nothing: --keep-weights times these. Channels last, weights are read as they lie.

Below the table: a cost fitted to these cases beside the present one, and how well both
choose in them. The fit is by least squares of the error in the sparse time, as a share
of the slower one's time: a small map counts as much as a large one, and cases far below
the limit, where any cost chooses rightly, count little.

Exit status: 0, 1 after an error, 2 for wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmdet_srn.analysis.arguments import percent, read_size, whole
from mmdet_srn.analysis.device_clock import device_clock
from mmdet_srn.analysis.machine import describe_machine
from mmdet_srn.analysis.sparse_and_dense import SparseAndDense
from mmdet_srn.analysis.sparse_cost import SparseComparison, SparseCost
from mmdet_srn.analysis.sparse_cost_choices import judge, lost
from mmdet_srn.analysis.sparse_cost_fit import fit_sparse_cost
from mmdet_srn.analysis.surviving_share import clustered_cells
from mmdet_srn.analysis.turns import take_turns
from mmdet_srn.analysis.variants import FORMATS, PRECISIONS, precision_context
from mmdet_srn.model_loader import check_device
from mmdet_srn.models.dense_heads import SRNHead
from mmdet_srn.models.sparse.deferred_map import Added
from mmdet_srn.models.sparse.partial_map import SPARSE_COST

CHANNELS = 256
SEED = 0
SIZES = (
    *((160, 120), (80, 60), (40, 30), (20, 15), (10, 8)),
    *((256, 256), (128, 128), (64, 64)),
)
"""Maps of P2 to P4 of 640x480 and 1024x1024 pixels, and two that are smaller."""
SHARES = (0.5, 1, 3, 10, 20, 30, 40, 50, 60, 75, 90)
WIDTHS = dict(
    [
        *(('map', 8), ('left %', 6), ('deferred', 8), ('G sparse', 9), ('G dense', 9)),
        *(('ratio', 6), ('sparse ms', 10), ('dense ms', 10), ('choice ms', 9)),
        *(('chosen', 6), ('lost %', 6)),
    ]
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=read_size,
        default=SIZES,
        metavar='WxH',
        help='of the maps, in cells (default: '
        f'{" ".join(f"{width}x{height}" for width, height in SIZES)})',
    )
    parser.add_argument(
        '--shares',
        nargs='+',
        type=percent,
        default=SHARES,
        metavar='PERCENT',
        help='cells that are left, at least, and at least one cluster (default: '
        f'{" ".join(map(str, SHARES))})',
    )
    parser.add_argument(
        '--runs', type=whole(1), default=5, help='timed calls (default: %(default)s)'
    )
    parser.add_argument('--dtype', choices=('fp32', *PRECISIONS), default='fp32')
    parser.add_argument(
        '--format',
        choices=tuple(FORMATS),
        help='memory format of maps and weights (default: that of FaceDetector, '
        'channels_last on a CPU, contiguous elsewhere)',
    )
    parser.add_argument(
        '--keep-weights', action='store_true', help='lay weights out once, see above'
    )
    parser.add_argument(
        '--threads', type=whole(1), help="of torch (default: torch's own choice)"
    )
    parser.add_argument('--device', default='cpu', help='(default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures')
    args = parser.parse_args(argv)
    if min(args.shares) == 0:
        parser.error('--shares: 0 leaves nothing to compute')
    return args


def make_context(dtype: str, device: torch.device) -> AbstractContextManager:
    """Make the context of a precision, see ``precision_context``; none for fp32."""
    return nullcontext() if dtype == 'fp32' else precision_context(dtype, device)


def make_cases(
    args: argparse.Namespace, device: torch.device
) -> Iterator[tuple[str, str, SparseAndDense]]:
    """Make what is timed.

    Args:
        args (argparse.Namespace): The command line.
        device (torch.device): Where it is computed.

    Yields:
        tuple[str, str, SparseAndDense]: Name of the map's size, what is deferred, and
        both ways.
    """
    torch.manual_seed(SEED)
    name = args.format or ('channels_last' if device.type == 'cpu' else 'contiguous')
    placed = dict(device=device, memory_format=FORMATS[name])
    head = SRNHead(num_classes=1, in_channels=CHANNELS).eval().to(**placed)
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(**placed)
    lateral = nn.Conv2d(CHANNELS, CHANNELS, 1).to(**placed)
    for width, height in args.sizes:
        source = torch.randn(1, CHANNELS, height, width, device=device)
        source = source.contiguous(memory_format=FORMATS[name])
        deferred = dict(no=(), conv=(conv,), sum=(lateral, Added(source), conv))
        generator = torch.Generator().manual_seed(SEED)
        for share in args.shares:
            cells = clustered_cells(height, width, share / 100, generator).to(device)
            for kind, layers in deferred.items():
                modules = (head.cls_subnet, head.conv_cls)
                ways = SparseAndDense(modules, source, cells, layers)
                yield f'{width}x{height}', kind, ways


def measure(
    args: argparse.Namespace, device: torch.device
) -> Iterator[tuple[dict[str, Any], SparseComparison]]:
    """Time all cases.

    Args:
        args (argparse.Namespace): The command line.
        device (torch.device): Where it is computed.

    Yields:
        tuple[dict[str, Any], SparseComparison]: A case's figures, times in ms, and the
        part of them that a cost is fitted to.
    """
    present = present_cost(device)
    for name, deferred, ways in make_cases(args, device):
        # one context for all calls: it keeps the dense weights in its type, as the
        # first step leaves them in ``predict``
        with torch.no_grad(), make_context(args.dtype, device):
            sparse, dense, choice = take_turns(
                [ways.sparse, ways.dense, ways.choose],
                args.runs,
                device_clock(device),
                before=(lambda: None) if args.keep_weights else ways.renew,
            )
        case = SparseComparison(ways.sparse_work, ways.dense_work, sparse, dense)
        row = dict(
            size=name,
            left_percent=100 * int(ways.cells.sum()) / ways.cells.numel(),
            deferred=deferred,
            sparse_multiply_adds=ways.sparse_work,
            dense_multiply_adds=ways.dense_work,
            sparse_ms=1e3 * sparse,
            dense_ms=1e3 * dense,
            choice_ms=1e3 * choice,
            chosen='sparse' if present.pays(case) else 'dense',
            lost_percent=100 * lost(present, case),
        )
        yield row, case


def present_cost(device: torch.device) -> SparseCost:
    """Look up what ``PartialMap`` chooses by; the work alone where it has nothing."""
    return SparseCost(*SPARSE_COST.get(device.type, (1.0, 0.0)))


def line(cells: Sequence[str]) -> str:
    """Lay out a line of the table."""
    texts = [
        text.ljust(width) if name == 'map' else text.rjust(width)
        for text, (name, width) in zip(cells, WIDTHS.items(), strict=True)
    ]
    return ' '.join(texts)


def cells_of(row: dict[str, Any]) -> list[str]:
    """Write a case's figures, by column."""
    sparse, dense = row['sparse_multiply_adds'], row['dense_multiply_adds']
    return [
        row['size'],
        f'{row["left_percent"]:.1f}',
        row['deferred'],
        f'{sparse / 1e9:.3f}',
        f'{dense / 1e9:.3f}',
        f'{sparse / dense:.3f}',
        f'{row["sparse_ms"]:.2f}',
        f'{row["dense_ms"]:.2f}',
        f'{row["choice_ms"]:.2f}',
        row['chosen'],
        f'{row["lost_percent"]:.1f}',
    ]


def case_name(row: dict[str, Any]) -> str:
    """Name a case."""
    name = f'{row["size"]}, {row["left_percent"]:.1f} % left'
    return name if row['deferred'] == 'no' else f'{name}, {row["deferred"]} deferred'


def judged(
    cost: SparseCost, cases: Sequence[SparseComparison], rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Say how well a cost chooses.

    Args:
        cost (SparseCost): The cost.
        cases (Sequence[SparseComparison]): What was measured.
        rows (Sequence[dict[str, Any]]): The same cases, for their names.

    Returns:
        dict[str, Any]: The cost and its figures.
    """
    choices = judge(cost, cases)
    return dict(
        factor=cost.factor,
        overhead=cost.overhead,
        wrong=choices.wrong,
        mean_lost_percent=100 * choices.mean_lost,
        most_lost_percent=100 * choices.most_lost,
        most_lost_at=case_name(rows[choices.most_lost_at]),
        most_lost_to_dense_percent=100 * choices.most_lost_to_dense,
        most_lost_to_dense_at=case_name(rows[choices.most_lost_to_dense_at]),
    )


def print_costs(costs: dict[str, dict[str, Any]], number: int) -> None:
    """Print costs and how well they choose.

    Args:
        costs (dict[str, dict[str, Any]]): Figures of ``judged``, by name.
        number (int): Of the cases.
    """
    print(
        f'{"cost":8}{"factor":>8}{"overhead":>11}{"wrong":>14}{"lost on average":>17}'
    )
    for name, cost in costs.items():
        wrong = f'{cost["wrong"]} of {number}'
        print(
            f'{name:8}{cost["factor"]:8.3f}{cost["overhead"] / 1e9:9.3f}e9{wrong:>14}'
            f'{cost["mean_lost_percent"]:15.2f} %'
        )
    for name, cost in costs.items():
        print(
            f'{name}: at most {cost["most_lost_percent"]:.1f} % slower than the better '
            f'one ({cost["most_lost_at"]})\n'
            f'{name}: at most {cost["most_lost_to_dense_percent"]:.1f} % slower than '
            f'dense ({cost["most_lost_to_dense_at"]})'
        )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, fit and print all.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, Any]: All figures.

    Raises:
        OSError: If there is no folder for the file.
        ValueError: If something in the arguments does not fit; the message says what.
    """
    check_device(args.device)
    device = torch.device(args.device)
    make_context(args.dtype, device)
    if args.json and not args.json.parent.is_dir():  # not after all has been timed
        raise FileNotFoundError(f'no folder {args.json.parent}')
    machine = describe_machine(args.device)
    print(f'{machine}\n{args.dtype}, medians of {args.runs} calls\n')
    print(line(list(WIDTHS)))
    rows, cases = [], []
    for row, case in measure(args, device):
        print(line(cells_of(row)), flush=True)
        rows.append(row)
        cases.append(case)
    costs = dict(present=present_cost(device), fitted=fit_sparse_cost(cases))
    report = {name: judged(cost, cases, rows) for name, cost in costs.items()}
    print()
    print_costs(report, len(cases))
    options = dict(dtype=args.dtype, runs=args.runs, keep_weights=args.keep_weights)
    return dict(machine=machine, **options, cases=rows, costs=report)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        argv (Sequence[str], optional): Defaults to None, the process's own.

    Returns:
        int: Exit status.
    """
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        report = run(args)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + '\n')
    except (OSError, ValueError) as error:
        print(f'benchmark_sparse: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
