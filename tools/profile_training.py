"""Where a training iteration's time goes: loading, matching, forward, backward.

Runs a few iterations of a config on its own data, through its own loader, model and
optimiser, and prints a table. Nothing is written or validated.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from tqdm import tqdm

import mmdet_srn  # noqa: F401

PARTS = (
    'waiting for data',
    'preprocessing',
    'matching, first step',
    'matching, second step',
    'forward and losses',
    'backward and update',
)


class Stopwatch:
    """Adds up seconds by name, waiting for the device at each end."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        synchronize()
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds[name] += time.perf_counter() - start

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, timed."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self(name):
                return function(*args, **kwargs)

        return wrapper


def synchronize() -> None:
    """Wait until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--iters', type=int, default=10, help='timed (default 10)')
    parser.add_argument('--warm-up', type=int, default=2, help='before (default 2)')
    parser.add_argument('--threads', type=int, help="torch's threads on a CPU")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args()
    if args.iters < 1 or args.warm_up < 0:
        parser.error('--iters must be at least 1, --warm-up at least 0')
    return args


def build(args: argparse.Namespace, work_dir: str) -> Runner:
    """The runner of the config, its model initialised, its optimiser ready."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = work_dir
    cfg.log_level = 'WARNING'
    runner = Runner.from_cfg(cfg)
    runner.train_loop  # noqa: B018, builds the loader
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.initialize_count_status(
        runner.model, 0, args.warm_up + args.iters
    )
    runner.model.init_weights()
    runner.model.train()
    return runner


def measure(runner: Runner, iters: int, warm_up: int) -> list[dict[str, float]]:
    """Seconds of each part, a dict an iteration; ``images`` is the batch size."""
    model = runner.model.module if hasattr(runner.model, 'module') else runner.model
    watch = Stopwatch()
    head = model.bbox_head
    for attribute, name in (('first_assigner', PARTS[2]), ('assigner', PARTS[3])):
        if hasattr(head, attribute):
            assigner = getattr(head, attribute)
            assigner.assign = watch.timed(name, assigner.assign)
    rows = []
    batches = iter(runner.train_dataloader)
    for i in tqdm(range(warm_up + iters), unit='iteration', leave=False):
        watch.seconds.clear()
        with watch(PARTS[0]):
            batch = next(batches, None)
            if batch is None:
                batches = iter(runner.train_dataloader)
                batch = next(batches)
        with watch(PARTS[1]):
            data = model.data_preprocessor(batch, training=True)
        with runner.optim_wrapper.optim_context(runner.model):
            with watch(PARTS[4]):
                losses = runner.model(**data, mode='loss')
                total, _ = model.parse_losses(losses)
        with watch(PARTS[5]):
            runner.optim_wrapper.update_params(total)
        if i >= warm_up:
            row = dict(watch.seconds)
            # the assigners run inside the forward
            row[PARTS[4]] -= row.get(PARTS[2], 0) + row.get(PARTS[3], 0)
            rows.append(dict(row, images=len(data['data_samples'])))
    return rows


def peak_memory() -> str:
    """Peak of the device's memory, or of the process where there is none."""
    if torch.cuda.is_available():
        return f'{torch.cuda.max_memory_allocated() / 2**20:,.0f} MB on the GPU'
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f'{own:,.0f} MB of the process, without its workers'


def main() -> None:
    """Measure and print."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as work_dir:
        runner = build(args, work_dir)
        rows = measure(runner, args.iters, args.warm_up)
    totals = [sum(row.get(part, 0) for part in PARTS) for row in rows]
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f'CPU, {torch.get_num_threads()} threads'
    )
    print(
        f'{args.config} on {device}: {args.iters} iterations after {args.warm_up}, '
        f'{rows[0]["images"]} images each'
    )
    print(f'{"part":24} {"median s":>10} {"share":>7}')
    for part in PARTS:
        seconds = [row.get(part, 0.0) for row in rows]
        share = sum(seconds) / sum(totals)
        print(f'{part:24} {statistics.median(seconds):>10.4f} {share:>7.1%}')
    images = sum(row['images'] for row in rows)
    print(
        f'{"iteration":24} {statistics.median(totals):>10.4f}\n'
        f'{images / sum(totals):.2f} images per second, peak memory {peak_memory()}'
    )


if __name__ == '__main__':
    main()
