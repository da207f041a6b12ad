"""Trains the cells of a table, over seeds, and sets the figures beside the paper's.

    python tools/analysis_tools/ablate.py --table 1 \
        --base configs/ablations/base_face_mosaic.py

Each cell is one config of configs/ablations, put on --base; tools/train.py trains it
and tools/test.py tests its last checkpoint. Finished runs are not run again,
interrupted ones go on. Cells that are the same in several tables are run once.
"""

import argparse
import json
import os
import queue
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

from mmdet_srn.ablation.cells import Run, as_python, place, resolve
from mmdet_srn.ablation.detections import detection_figures
from mmdet_srn.ablation.report import collect, describe, plot, to_markdown
from mmdet_srn.ablation.tables import TABLES
from mmdet_srn.checkpoint_file import torch_load
from mmdet_srn.version import __version__

TOOLS = Path(__file__).resolve().parents[1]
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
        action=DictAction,
        default={},
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
        '--dry-run',
        action='store_true',
        help='print the commands of what is not finished and write the configs that '
        'they name; start nothing',
    )
    parser.add_argument(
        '--report-only', action='store_true', help='tables of what is there'
    )
    args = parser.parse_args(argv)
    if min(args.jobs, args.gpus, args.fig1a_batches) < 1:
        parser.error('--jobs, --gpus and --fig1a-batches must be at least 1')
    if args.launcher == 'none' and args.gpus != 1:
        parser.error('--gpus needs --launcher pytorch')
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
    try:
        tables = plan(args)
    except (OSError, ValueError) as error:
        print(f'ablate: {error}', file=sys.stderr)
        return 2
    once = {run.tested: run for runs in tables.values() for run in runs.values()}
    args.counted = {
        run.tested
        for name, runs in tables.items()
        if TABLES[name].figures == 'anchor_ratio'
        for run in runs.values()
    }
    todo = [run for run in once.values() if any(steps(run, args))]
    failures = []
    if not args.report_only:
        print(f'{len(once)} runs, {len(once) - len(todo)} of them finished already')
        for run in todo:
            run.tested.mkdir(parents=True, exist_ok=True)
            run.config.write_text(as_python(run.cfg), 'utf-8')
        if args.dry_run:
            for run in todo:
                print(f'# {run.name} seed {run.seed}')
                print(
                    *(shlex.join(command) for _, command in steps(run, args)), sep='\n'
                )
            return 0
        try:
            failures = run_all(todo, args)
        except KeyboardInterrupt:
            print('interrupted; the same command goes on', file=sys.stderr)
            return 130
    for name, runs in tables.items():
        write_report(name, runs, args)
    for failure in failures:
        print(f'FAILED: {failure}', file=sys.stderr)
    return 1 if failures else 0


def plan(args: argparse.Namespace) -> dict[str, dict[tuple[int, int], Run]]:
    """Resolve the runs of each table, by row and seed."""
    if 'randomness.seed' in args.cfg_options:
        raise ValueError('randomness.seed is set by --seeds, not by --cfg-options')
    tables = {name: TABLES[name] for name in args.table}
    cells = resolve(tables, args.base, CONFIGS / 'ablations', args.cfg_options)
    if args.tta and 'tta_model' not in cells[None]:
        raise ValueError(f'{args.base.name}: the base has no tta_model (--tta)')
    names: dict[str, str] = {}
    return {
        name: {
            (row, seed): place(
                args.work_dir,
                names,
                cell.config,
                seed,
                cells[cell.config],
                args.gpus,
                args.tta,
            )
            for row, cell in enumerate(table.cells)
            for seed in args.seeds
        }
        for name, table in tables.items()
    }


def steps(run: Run, args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Yield what is left to do for a run, name and command, one after the other."""
    python, launcher = [sys.executable], []
    if args.launcher != 'none':
        port = random.randint(20000, 30000)  # as mim chooses it
        python += ['-m', 'torch.distributed.run', f'--nproc_per_node={args.gpus}']
        python += [f'--master_port={port}']
        launcher = ['--launcher', args.launcher]
    config = str(run.config)
    if run.result is None:
        train = [*python, str(TOOLS / 'train.py'), config, '--resume', *launcher]
        yield 'training', [*train, '--work-dir', str(run.folder)]
        test = [*python, str(TOOLS / 'test.py'), config, str(checkpoint_of(run))]
        test += [*launcher, *(['--tta'] if args.tta else [])]
        yield 'the test', [*test, '--work-dir', str(run.tested)]
    counts = counts_of(run, args)
    if run.tested in args.counted and not counts.is_file():
        count = [sys.executable, '-m', 'mmdet_srn.ablation.anchor_ratio', config]
        count += [str(checkpoint_of(run)), str(counts), '--seed', str(run.seed)]
        yield 'counting anchors', [*count, '--batches', str(args.fig1a_batches)]


def checkpoint_of(run: Run) -> Path:
    """Find the last checkpoint; while there is none, a name that stands for it."""
    name = run.folder / 'last_checkpoint'
    # Its name alone: the folder may have been moved.
    last = Path(name.read_text('utf-8').strip()).name if name.is_file() else 'LAST.pth'
    return run.folder / last


def counts_of(run: Run, args: argparse.Namespace) -> Path:
    """File of the counts of Figure 1a."""
    return run.folder / f'anchor_ratio_{args.fig1a_batches}.json'


def run_all(runs: Sequence[Run], args: argparse.Namespace) -> list[str]:
    """Run what is not finished; a run that fails does not stop the others.

    Returns:
        What failed, a line each.

    Raises:
        KeyboardInterrupt: If the user stops it, after the processes have ended.
    """
    processes = Processes()
    failures = []
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(args.jobs):
        slots.put(slot)

    def work(run: Run) -> None:
        slot = slots.get()
        try:
            print(f'{run.name} seed {run.seed}: started, log in {run.folder}/log.txt')
            run_one(run, args, processes, environment(slot, args.jobs, args.gpus))
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(args.jobs) as pool:
        futures = {pool.submit(work, run): run for run in runs}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                run = futures[future]
                title, text = f'{run.name} seed {run.seed}', 'done'
                try:
                    future.result()
                except (OSError, RuntimeError, ValueError) as error:
                    failures.append(f'{title}: {error}')
                    text = f'FAILED: {error}\nend of {run.folder}/log.txt:\n{tail(run)}'
                print(f'[{number}/{len(runs)}] {title}: {text}', flush=True)
        except BaseException:
            processes.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return failures


def tail(run: Run, lines: int = 15) -> str:
    """Read the end of a run's log."""
    log = run.folder / 'log.txt'
    text = log.read_text('utf-8', errors='replace') if log.is_file() else '(no log)'
    return '\n'.join(text.splitlines()[-lines:])


def run_one(
    run: Run, args: argparse.Namespace, processes: 'Processes', env: dict[str, str]
) -> None:
    """Train, test and count, as far as it is missing, and write the result."""
    start = time.monotonic()
    resumed = (run.folder / 'last_checkpoint').is_file()
    # What an interrupted test has left would be taken for this one's.
    if run.result is None:
        shutil.rmtree(run.tested / 'detections', ignore_errors=True)
    for what, command in steps(run, args):
        if status := processes.run(command, run.folder / 'log.txt', env):
            raise RuntimeError(f'{what} ended with status {status}')
        if what == 'the test':
            seconds = round(time.monotonic() - start, 1)
            result = dict(make_result(run, args), seconds=seconds, resumed=resumed)
            part = run.tested / 'result.json.part'
            part.write_text(f'{json.dumps(result, indent=1)}\n', 'utf-8')
            part.replace(run.tested / 'result.json')


def make_result(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    """Put together what the tables need of a run that is trained and tested."""
    metrics = json.loads((run.tested / 'detections.json').read_text('utf-8'))
    # Mapped, so that the weights are not read.
    meta = torch_load(checkpoint_of(run), map_location='cpu', mmap=True)['meta']
    logged = sorted(run.folder.glob('*/vis_data/scalars.json'))
    lines = [line for log in logged for line in log.read_text('utf-8').splitlines()]
    survivors = [
        row['stc_survivors'] for row in map(json.loads, lines) if 'stc_survivors' in row
    ]
    return dict(
        name=run.name,
        seed=run.seed,
        version=__version__,
        iterations=meta['iter'],
        epochs=meta['epoch'],
        batch=run.cfg.train_dataloader.batch_size * args.gpus,
        protocol=metrics.pop('protocol'),
        test_images=metrics.pop('images'),
        metrics=metrics,
        survivors=survivors[-1] if survivors else None,
        **detection_figures(run.tested / 'detections', run.cfg),
    )


def environment(slot: int, jobs: int, gpus: int) -> dict[str, str]:
    """Give one of several runs at a time its share of the machine.

    Args:
        slot: Number of the place that it runs in, from 0.
        jobs: Runs at a time.
        gpus: GPUs of each.

    Returns:
        This process's environment. With several jobs it names the GPUs, in turn where
        there are not enough, and the threads.
    """
    env = dict(os.environ)
    if jobs == 1:
        return env
    env.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // jobs)))
    every = ','.join(map(str, range(torch.cuda.device_count())))
    devices = [d for d in env.get('CUDA_VISIBLE_DEVICES', every).split(',') if d]
    if devices:
        chosen = [devices[(slot * gpus + i) % len(devices)] for i in range(gpus)]
        env['CUDA_VISIBLE_DEVICES'] = ','.join(dict.fromkeys(chosen))
    return env


class Processes:
    """Processes that are waited for by threads, and that can be ended together."""

    def __init__(self) -> None:
        self._lock, self._stopped = threading.Lock(), False
        self._running: set[subprocess.Popen] = set()

    def run(self, command: Sequence[str], log: Path, env: dict[str, str]) -> int:
        """Run a command, add what it prints to a log and return its exit status."""
        with log.open('a', encoding='utf-8') as out:
            print('$', shlex.join(command), file=out, flush=True)
            with self._lock:
                if self._stopped:
                    raise RuntimeError('stopped')
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=env,
                )
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
            return status

    def stop(self) -> None:
        """End the running ones, and start no more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def write_report(
    name: str, runs: dict[tuple[int, int], Run], args: argparse.Namespace
) -> None:
    """Print a table and write it as Markdown, CSV and picture."""
    table = TABLES[name]
    results = {place: run.result for place, run in runs.items()}
    if table.figures == 'anchor_ratio':
        for place, run in runs.items():
            counts = counts_of(run, args)
            if results[place] is not None:
                ratio = json.loads(counts.read_text()) if counts.is_file() else None
                results[place] = (
                    {**results[place], 'anchor_ratio': ratio} if ratio else None
                )
    results = {place: result for place, result in results.items() if result}
    frame = collect(name, table, results)
    head = f'Ours: `{args.base.name}`, seeds {", ".join(map(str, args.seeds))}'
    options = [f'{k}={v}' for k, v in args.cfg_options.items() if 'data_root' not in k]
    if options:
        head += f', with `{" ".join(options)}`'
    text = to_markdown(table, frame, describe(table, runs, results, frame, f'{head}.'))
    stem = args.work_dir / 'tables' / (f'table{name}' if name.isdigit() else name)
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix('.md').write_text(text, 'utf-8')
    frame.to_csv(stem.with_suffix('.csv'), index=False, float_format='%.6g')
    if results:
        plot(table, frame, stem.with_suffix('.png'))
    print(f'\n{text}\nwritten: {stem}.md, .csv{", .png" if results else ""}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    sys.exit(main())
