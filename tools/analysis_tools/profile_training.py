"""Show where a training iteration's time goes: loading, matching, forward, backward.

Runs a few iterations of a config on its own data, through its own loader, model and
optimiser, and prints a table. Nothing is written or validated.
"""

import argparse
import itertools
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pandas as pd
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from tabulate import tabulate
from torch.utils.benchmark import timer
from tqdm import tqdm

import mmdet_srn  # noqa: F401
from mmdet_srn.benchmark.arguments import whole

PARTS = (
    'waiting for data',
    'preprocessing',
    'matching, first step',
    'matching, second step',
    'forward and losses',
    'backward and update',
)


@contextmanager
def timed(seconds: Counter, name: str) -> Iterator[None]:
    """Add the time inside to a part's, having waited for a GPU."""
    start = timer()
    yield
    seconds[name] += timer() - start


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config')
    add('--iters', type=whole(1), default=10, help='timed (default 10)')
    add('--warm-up', type=whole(0), default=2, help='before (default 2)')
    add('--threads', type=whole(1), help="torch's threads on a CPU")
    add('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args()


def build(args: argparse.Namespace, work_dir: str) -> Runner:
    """Build the config's runner, with weights initialised and optimiser ready."""
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


def measure(runner: Runner, iters: int, warm_up: int) -> pd.DataFrame:
    """Measure the seconds of each part, a row per iteration, and its 'images'."""
    model = runner.model.module if hasattr(runner.model, 'module') else runner.model
    head, seconds, rows = model.bbox_head, Counter(), []
    batches = itertools.chain.from_iterable(itertools.repeat(runner.train_dataloader))
    with ExitStack() as stack:
        for attribute, name in (('first_assigner', PARTS[2]), ('assigner', PARTS[3])):
            if (assigner := getattr(head, attribute, None)) is not None:
                # contextmanager objects are decorators
                assign = timed(seconds, name)(assigner.assign)
                stack.enter_context(patch.object(assigner, 'assign', assign))
        for i in tqdm(range(warm_up + iters), unit='iteration', leave=False):
            seconds.clear()
            with timed(seconds, PARTS[0]):
                batch = next(batches)
            with timed(seconds, PARTS[1]):
                data = model.data_preprocessor(batch, training=True)
            with (
                runner.optim_wrapper.optim_context(runner.model),
                timed(seconds, PARTS[4]),
            ):
                total, _ = model.parse_losses(runner.model(**data, mode='loss'))
            with timed(seconds, PARTS[5]):
                runner.optim_wrapper.update_params(total)
            if i >= warm_up:
                row = {part: seconds[part] for part in PARTS}
                # the assigners run inside the forward
                row[PARTS[4]] -= row[PARTS[2]] + row[PARTS[3]]
                rows.append(dict(row, images=len(data['data_samples'])))
    return pd.DataFrame(rows)


def peak_memory() -> str:
    """Describe the peak memory of the GPU, or of the process where there is none."""
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
        rows = measure(build(args, work_dir), args.iters, args.warm_up)
    seconds, images = rows[list(PARTS)], rows['images']
    totals, shares = seconds.sum(axis=1), seconds.sum() / seconds.sum().sum()
    device = f'CPU, {torch.get_num_threads()} threads'
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    print(
        f'{args.config} on {device}: {args.iters} iterations after {args.warm_up}, '
        f'{images[0]} images each'
    )
    table = [
        [part, f'{seconds[part].median():.4f}', f'{shares[part]:.1%}'] for part in PARTS
    ]
    table.append(['iteration', f'{totals.median():.4f}', ''])
    names, align = ['part', 'median s', 'share'], ('left', 'right', 'right')
    print(tabulate(table, names, 'plain', disable_numparse=True, colalign=align))
    print(
        f'{images.sum() / totals.sum():.2f} images per second, '
        f'peak memory {peak_memory()}'
    )


if __name__ == '__main__':
    main()
