"""Trains the cells of a table, over seeds, and sets the figures beside the paper's.

    python tools/analysis_tools/ablate.py --table 1 \
        --base configs/ablations/base_face_mosaic.py

Each cell is one config of configs/ablations or configs/successors, put on --base;
tools/train.py trains it and tools/test.py tests its last checkpoint. Finished runs are
not run again, interrupted ones go on. Cells that are the same in several tables are run
once.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction

from mmdet_srn.ablation.cells import Run, as_python, place, resolve
from mmdet_srn.ablation.detections import detection_figures
from mmdet_srn.ablation.report import collect, describe, plot, to_markdown
from mmdet_srn.ablation.tables import TABLES
from mmdet_srn.benchmark.arguments import whole
from mmdet_srn.checkpoint_file import torch_load
from mmdet_srn.version import __version__

TOOLS = Path(__file__).resolve().parents[1]
# Beside the tools in a clone, in a wheel's .mim as well.
CONFIGS = TOOLS.parent / 'configs'
#: Of a table, by row and seed.
Runs = dict[tuple[int, int], Run]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    titles = [f'  {name:10} {table.title}' for name, table in TABLES.items()]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(['tables:', *titles]),
    )
    add = parser.add_argument
    add('--table', nargs='+', required=True, choices=TABLES, metavar='TABLE')
    base = CONFIGS / 'srn_r50_fpn_widerface.py'
    text = f'config of model, data and schedule (default: {base.name})'
    add('--base', type=Path, default=base, help=text)
    add('--seeds', type=int, nargs='+', default=[0], metavar='N')
    add('--work-dir', type=Path, help='default: work_dirs/ablations/<name of the base>')
    options = dict(nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    text = 'settings of all cells, such as the data and the budget'
    add('--cfg-options', help=text, **options)
    add('--jobs', type=whole(1), default=1, help='cells at a time')
    add('--launcher', choices=['none', 'pytorch'], default='none')
    text = 'processes of a cell, with a launcher'
    add('--gpus', type=whole(1), default=1, help=text)
    add('--tta', action='store_true', help='test by the tta_model of the base')
    text = 'training batches that Figure 1a looks at (default: %(default)s)'
    add('--fig1a-batches', type=whole(1), default=50, metavar='N', help=text)
    text = (
        'print the commands of what is not finished and write the configs that they '
        'name; start nothing'
    )
    add('--dry-run', action='store_true', help=text)
    add('--report-only', action='store_true', help='tables of what is there')
    args = parser.parse_args(argv)
    if args.launcher == 'none' and args.gpus != 1:
        parser.error('--gpus needs --launcher pytorch')
    args.seeds, args.table = (list(dict.fromkeys(x)) for x in (args.seeds, args.table))
    if not args.base.is_file():  # as mim finds configs, whose names are unique
        args.base = next(CONFIGS.rglob(args.base.name), args.base)
    if args.work_dir is None:
        args.work_dir = Path('work_dirs/ablations') / args.base.stem
    return args


def main(argv: list[str] | None = None) -> int:
    """Run, print and write; return 0, 1 if a run failed, 2 if none could be started."""
    args = parse_args(argv)
    try:
        tables = plan(args)
    except (OSError, ValueError) as error:
        print(f'ablate: {error}', file=sys.stderr)
        return 2
    once = {run.tested: run for runs in tables.values() for run in runs.values()}
    ratios = [x for x in tables if TABLES[x].figures == 'anchor_ratio']
    args.counted = {run.tested for name in ratios for run in tables[name].values()}
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
                for _, command in steps(run, args):
                    print(shlex.join(command))
            return 0
        try:
            failures = asyncio.run(run_all(todo, args))
        except KeyboardInterrupt:
            print('interrupted; the same command goes on', file=sys.stderr)
            return 130
    for name, runs in tables.items():
        write_report(name, runs, args)
    for failure in failures:
        print(f'FAILED: {failure}', file=sys.stderr)
    return 1 if failures else 0


def plan(args: argparse.Namespace) -> dict[str, Runs]:
    """Resolve the runs of each table."""
    if 'randomness.seed' in args.cfg_options:
        raise ValueError('randomness.seed is set by --seeds, not by --cfg-options')
    tables = {name: TABLES[name] for name in args.table}
    cells = resolve(tables.values(), args.base, CONFIGS, args.cfg_options)
    if args.tta and 'tta_model' not in cells[None]:
        raise ValueError(f'{args.base.name}: the base has no tta_model (--tta)')
    names: dict[str, str] = {}

    def run(cell: str | None, seed: int) -> Run:
        cfg = cells[cell]
        return place(args.work_dir, names, cell, seed, cfg, args.gpus, args.tta)

    return {
        name: {
            (row, seed): run(cell.config, seed)
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
    # Early stopping forgets: what it has stopped would go on.
    if run.result is None and not (run.folder / 'trained').is_file():
        # With nothing to resume, mmdet would drop the base's load_from.
        resume = ['--resume'] if any(run.folder.glob('*.pth')) else []
        train = [*python, str(TOOLS / 'train.py'), config, *resume, *launcher]
        yield 'training', [*train, '--work-dir', str(run.folder)]
    if run.result is None:
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


async def run_all(runs: Sequence[Run], args: argparse.Namespace) -> list[str]:
    """Run what is not finished; return what failed, which does not stop the others."""
    failures: list[str] = []
    ended = itertools.count(1)
    slots: asyncio.Queue[int] = asyncio.Queue()
    for slot in range(args.jobs):
        slots.put_nowait(slot)

    async def work(run: Run) -> None:
        slot = await slots.get()
        title, log = f'{run.name} seed {run.seed}', run.folder / 'log.txt'
        print(f'{title}: started, log in {log}', flush=True)
        text = 'done'
        try:
            await run_one(run, args, environment(slot, args.jobs, args.gpus))
        except (OSError, RuntimeError, ValueError) as error:
            failures.append(f'{title}: {error}')
            lines = ['(no log)']
            if log.is_file():
                lines = log.read_text('utf-8', errors='replace').splitlines()[-15:]
            text = '\n'.join([f'FAILED: {error}', f'end of {log}:', *lines])
        print(f'[{next(ended)}/{len(runs)}] {title}: {text}', flush=True)
        slots.put_nowait(slot)

    await asyncio.gather(*map(work, runs))
    return failures


async def run_one(run: Run, args: argparse.Namespace, env: dict[str, str]) -> None:
    """Train, test and count, as far as it is missing, and write the result."""
    start = time.monotonic()
    resumed = (run.folder / 'last_checkpoint').is_file()
    # What an interrupted test has left would be taken for this one's.
    if run.result is None:
        shutil.rmtree(run.tested / 'detections', ignore_errors=True)
    for what, command in steps(run, args):
        if status := await run_process(command, run.folder / 'log.txt', env):
            raise RuntimeError(f'{what} ended with status {status}')
        if what == 'training':
            (run.folder / 'trained').touch()
        if what == 'the test':
            seconds = round(time.monotonic() - start, 1)
            result = await asyncio.to_thread(make_result, run, args)
            result |= dict(seconds=seconds, resumed=resumed)
            part = run.tested / 'result.json.part'
            part.write_text(f'{json.dumps(result, indent=1)}\n', 'utf-8')
            part.replace(run.tested / 'result.json')


async def run_process(command: Sequence[str], log: Path, env: dict[str, str]) -> int:
    """Run a command, add what it prints to a log and return its exit status."""
    with log.open('a', encoding='utf-8') as out:
        print('$', shlex.join(command), file=out, flush=True)
        none, both = asyncio.subprocess.DEVNULL, asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec(
            *command, stdin=none, stdout=out, stderr=both, env=env
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:  # interrupted
            process.terminate()
            await process.wait()
            raise


def make_result(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    """Put together what the tables need of a run that is trained and tested."""
    metrics = json.loads((run.tested / 'detections.json').read_text('utf-8'))
    # Mapped, so that the weights are not read.
    meta = torch_load(checkpoint_of(run), map_location='cpu', mmap=True)['meta']
    survivors = None
    for path in sorted(run.folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text('utf-8').splitlines():
            survivors = json.loads(line).get('stc_survivors', survivors)
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
        survivors=survivors,
        **detection_figures(run.tested / 'detections', run.cfg),
    )


def environment(slot: int, jobs: int, gpus: int) -> dict[str, str]:
    """Give the run in one of ``jobs`` slots its share of the machine.

    It is this process's environment. With several jobs it names the threads and the
    GPUs, in turn where there are not enough.
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


def write_report(name: str, runs: Runs, args: argparse.Namespace) -> None:
    """Print a table and write it as Markdown, CSV and picture."""
    table, results = TABLES[name], {}
    for at, run in runs.items():
        if result := run.result:
            if table.figures == 'anchor_ratio':
                if not (counts := counts_of(run, args)).is_file():
                    continue
                result['anchor_ratio'] = json.loads(counts.read_text('utf-8'))
            results[at] = result
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
