"""Command lines of the benchmarks."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def read_size(text: str) -> tuple[int, int]:
    """Read a size such as '640x480': width and height, at least 1."""
    found = re.fullmatch(r'0*([1-9][0-9]*)x0*([1-9][0-9]*)', text)
    if not found:
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480')
    return int(found[1]), int(found[2])


def percent(text: str) -> float:
    """Read a percentage from 0 to 100."""
    if not 0 <= float(text) <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 100')
    return float(text)


def whole(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers of at least ``least``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f'{text} is less than {least}')
        return int(text)

    return number


def add_common_options(parser: argparse.ArgumentParser, least_runs: int) -> None:
    """Give a benchmark --runs, --threads, --device and --json."""
    add = parser.add_argument
    text = 'timed calls of each row%s (default: %%(default)s)'
    text %= '' if least_runs else ' on each batch; 0: only count'
    add('--runs', type=whole(least_runs), default=5, help=text)
    add('--threads', type=whole(1), help="of torch (default: torch's choice)")
    add('--device', default='cpu', help='(default: %(default)s)')
    add('--json', type=Path, metavar='FILE', help='write all figures')


def run_benchmark(
    name: str, run: Callable[..., dict[str, Any]], args: argparse.Namespace
) -> int:
    """Run a benchmark with these options and write its figures.

    Returns:
        The exit status: 1 after an error, which is printed after the tool's name.
    """
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        if args.json and not args.json.parent.is_dir():  # not after all has been timed
            raise FileNotFoundError(f'no folder {args.json.parent}')
        report = run(args)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + '\n')
    except (OSError, ValueError, ImportError) as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    return 0
