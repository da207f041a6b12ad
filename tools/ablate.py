"""Trains the cells of a table, over seeds, and sets the figures beside the paper's.

    python tools/ablate.py --table 1 --base configs/ablations/base_face_mosaic.py

Each cell is one config of configs/ablations, put on --base, and trains in a process
of its own by tools/train.py. Finished ones are not run again, interrupted ones go on.
Cells that are the same in several tables are run once.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from mmdet_srn.ablation.commands import Launch, anchor_ratio_command, train_command
from mmdet_srn.ablation.commands import test_command as test_command_of
from mmdet_srn.ablation.identity import explain, training_settings
from mmdet_srn.ablation.plan import Plan, Run, make_plan
from mmdet_srn.ablation.plot import plot
from mmdet_srn.ablation.report import make_report, to_csv, to_markdown
from mmdet_srn.ablation.result import (
    State,
    last_checkpoint,
    old_settings,
    state_of,
    write_config,
)
from mmdet_srn.ablation.run_cells import BusyError, forget, is_needed, run_all
from mmdet_srn.ablation.tables import TABLES

TOOLS = Path(__file__).resolve().parent
# Beside the tools in a clone, in a wheel's .mim as well.
CONFIGS = TOOLS.parent / 'configs'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='tables:\n'
        + '\n'.join(f'  {name:10} {table.title}' for name, table in TABLES.items()),
    )
    parser.add_argument(
        '--table', nargs='+', required=True, choices=TABLES, metavar='TABLE'
    )
    parser.add_argument(
        '--base',
        type=Path,
        default=CONFIGS / 'srn_r50_fpn_widerface.py',
        help='config of model, data and schedule (default: srn_r50_fpn_widerface.py)',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], metavar='N')
    parser.add_argument(
        '--work-dir', type=Path, help='default: work_dirs/ablations/<name of the base>'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings of all cells, such as the data and the budget',
    )
    parser.add_argument('--jobs', type=int, default=1, help='cells at a time')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none')
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes of a cell, with a launcher'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test by the tta_model of the base'
    )
    parser.add_argument(
        '--fig1a-batches',
        type=int,
        default=50,
        metavar='N',
        help='training batches that Figure 1a looks at (default: 50)',
    )
    parser.add_argument(
        '--redo', action='store_true', help='remove runs made with other settings'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='print the commands of what is not finished, start nothing; the configs '
        'that they name are written',
    )
    parser.add_argument(
        '--report-only', action='store_true', help='tables of what is there'
    )
    args = parser.parse_args(argv)
    if min(args.jobs, args.gpus, args.fig1a_batches) < 1:
        parser.error('--jobs, --gpus and --fig1a-batches must be at least 1')
    if args.launcher == 'none' and args.gpus != 1:
        parser.error('--gpus needs --launcher pytorch')
    if args.redo and (args.dry_run or args.report_only):
        parser.error('--redo removes runs, --dry-run and --report-only only look')
    for numbers in (args.seeds, args.table):
        numbers[:] = dict.fromkeys(numbers)
    if not args.base.is_file():  # as mim finds configs, whose names are unique
        args.base = next(CONFIGS.rglob(args.base.name), args.base)
    if args.work_dir is None:
        args.work_dir = Path('work_dirs/ablations') / args.base.stem
    return args


def main(argv: list[str] | None = None) -> int:
    """Run, print and write.

    Args:
        argv: The arguments; None for the process's own.

    Returns:
        Exit status: 0, 1 if a run failed, 2 if nothing could be started.
    """
    args = parse_args(argv)
    tables = {name: TABLES[name] for name in args.table}
    launch = Launch(
        TOOLS,
        args.cfg_options,
        args.launcher,
        args.gpus,
        args.tta,
        args.fig1a_batches,
    )
    try:
        plan = make_plan(
            tables,
            args.base,
            CONFIGS / 'ablations',
            args.seeds,
            args.cfg_options,
            args.work_dir,
            processes=args.gpus,
            tta=args.tta,
        )
        check(plan, args.redo)
    except (BusyError, OSError, ValueError) as error:
        print(f'ablate: {error}', file=sys.stderr)
        return 2
    with_ratio = [
        run
        for (name, _, _), run in plan.run_of.items()
        if tables[name].figures == 'anchor_ratio'
    ]
    if args.dry_run:
        print_commands(plan, launch, with_ratio)
        return 0
    failures = []
    if not args.report_only:
        try:
            failures = run_all(plan.runs, launch, args.jobs, with_ratio)
        except KeyboardInterrupt:
            print('interrupted; the same command goes on', file=sys.stderr)
            return 130
    write_reports(args, plan)
    for failure in failures:
        print(
            f'FAILED: {failure.run.name} seed {failure.run.seed}: {failure.reason}',
            file=sys.stderr,
        )
    return 1 if failures else 0


def check(plan: Plan, redo: bool) -> None:
    """See that no folder holds a training of other settings.

    Args:
        plan: The plan.
        redo: Whether such runs are removed.

    Raises:
        ValueError: If there are some and they are not.
        BusyError: If a process is still at one that is to be removed.
    """
    stale = [run for run in plan.runs if state_of(run) is State.STALE]
    if redo:
        for run in stale:
            print(f'removing {run.folder}, made with other settings')
            forget(run)
        return
    if stale:
        lines = [f'{run.folder}\n{_why_stale(run)}' for run in stale]
        raise ValueError(
            f'{len(stale)} of {len(plan.runs)} runs are there with other settings '
            '(theirs -> those asked for):\n' + '\n'.join(lines) + '\nGive the settings '
            'they were made with, another --work-dir, or --redo to remove them.'
        )


def _why_stale(run: Run) -> str:
    old = old_settings(run) or {}
    by_training = explain(training_settings(old), training_settings(run.settings))
    if by_training:
        return by_training
    return f'{explain(old, run.settings)}\n    and no checkpoint is left to be tested'


def print_commands(plan: Plan, launch: Launch, with_ratio: list[Run]) -> None:
    """Print what would be run."""
    for run in plan.runs:
        state = state_of(run)
        print(
            f'# {run.name} seed {run.seed}: {state.value}; for {", ".join(run.labels)}'
        )
        if not is_needed(run, launch, run in with_ratio):
            continue
        # That of a training that has not ended has no name yet.
        trained = state in (State.FINISHED, State.UNTESTED)
        checkpoint = (last_checkpoint(run) if trained else None) or (
            run.folder / 'LAST.pth'
        )
        if state is not State.FINISHED:
            write_config(run)
            if state is not State.UNTESTED:
                print(shlex.join(train_command(run, launch)))
            if launch.tta or state is State.UNTESTED:
                print(shlex.join(test_command_of(run, launch, checkpoint)))
        if run in with_ratio:
            print(shlex.join(anchor_ratio_command(run, launch, checkpoint)))


def write_reports(args: argparse.Namespace, plan: Plan) -> None:
    """Print each table and write it as Markdown, CSV and picture."""
    folder = args.work_dir / 'tables'
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.table:
        report = make_report(
            name, TABLES[name], plan, args.seeds, args.base, args.cfg_options
        )
        stem = folder / (name if not name.isdigit() else f'table{name}')
        text = to_markdown(report)
        print(f'\n{text}')
        written = {'.md': text, '.csv': to_csv(report)}
        for suffix, content in written.items():
            stem.with_suffix(suffix).write_text(content, encoding='utf-8')
        if report.styles:
            plot(report, stem.with_suffix('.png'))
        print(f'written: {stem}.md, .csv{", .png" if report.styles else ""}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    sys.exit(main())
