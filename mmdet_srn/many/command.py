"""The command: share a list of pictures out to processes, on one machine or many."""

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from ..detector.model_files import hash_model
from ..detector.sources import Skipped
from ..folder_lock import lock_folder
from ..weights import weights_file
from .inputs import TAR_SUFFIXES, find_paths
from .job import Job, Store, begin_job, load_job
from .worker import STAGES, PartDetector, peak_memory

#: Parts for each process that Ray holds at a time; an object in its store for each.
PARTS_PER_ROUND = 32
# Only the numbers of parts and counts pass through it.
_OBJECT_STORE = 80 * 2**20


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmdet_srn detect_many',
        description='Find the faces of many pictures. Started again with the same '
        'arguments, it goes on where it was stopped.',
    )
    parser.add_argument(
        'inputs',
        metavar='INPUT',
        help='a folder of pictures; lists of paths (LIST.parquet); tar shards '
        "('shards/*.tar'); local, s3://, gs:// or what else fsspec knows",
    )
    parser.add_argument('out', metavar='OUTPUT', help='folder of parquet files')
    parser.add_argument('--address', help="a Ray cluster, or 'auto' (default: none)")
    parser.add_argument(
        '--processes', type=int, help='default: one for each CPU of machine or cluster'
    )
    parser.add_argument('--model', help='exported .onnx file (default: the shipped)')
    parser.add_argument('--score-thr', type=float, default=0.5, help='(%(default)s)')
    parser.add_argument(
        '--max-size',
        type=int,
        default=2048,
        help='longest side for the detector in pixels, 0: any (%(default)s)',
    )
    parser.add_argument('--column', default='path', help='of a list (%(default)s)')
    parser.add_argument(
        '--part-size', type=int, help='rows of a file of results (default: up to 1000)'
    )
    args = parser.parse_args(argv)
    for name in ('processes', 'part_size'):
        if (number := getattr(args, name)) is not None and number < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more')
    if args.max_size < 0:
        parser.error('--max-size must be 0 or more')
    if not 0 <= args.score_thr <= 1:  # or nan
        parser.error('--score-thr must be from 0 to 1')
    return args


def run(args: argparse.Namespace) -> int:
    """Work through the list; return the exit status.

    Raises:
        OSError: If an input or the model is missing, or another process writes there.
        ValueError: If an argument cannot be used.
        ImportError: If Ray is missing.
    """
    model = args.model or str(weights_file('.onnx'))
    store = Store(args.out)
    wanted = Job(
        inputs=args.inputs if '://' in args.inputs else os.path.abspath(args.inputs),
        model=hash_model(None, model),
        score_thr=args.score_thr,
        max_size=args.max_size or None,
        tars=args.inputs.endswith(TAR_SUFFIXES),
        folder=os.getcwd(),
        column=args.column,
    )
    with ExitStack() as stack:
        if isinstance(store.fs, LocalFileSystem):
            os.makedirs(store.root, exist_ok=True)
            stack.enter_context(lock_folder(Path(store.root)))
        job = load_job(store, wanted)
        processes = stack.enter_context(ray_session(args.address, args.processes))
        if job is None:
            skipped = Skipped()
            paths = find_paths(args.inputs, args.out, args.column, skipped)
            job = begin_job(store, wanted, paths, processes, args.part_size)
            report_skipped(skipped)
        todo = job.missing(store)
        total = detect(job, todo, args.out, model, processes) if todo else Counter()
        if missing := job.missing(store):
            raise OSError(f'{len(missing)} parts have no results: start it again')
        store.remove('_tmp')  # what killed processes left
    there = job.parts - len(todo)
    print(
        f'{total["pictures"]} pictures, {total["faces"]} faces, {total["errors"]} '
        f'errors in {len(todo)} parts; {there} parts were there; see {args.out}'
    )
    return 3 if total['errors'] else 0


def detect(
    job: Job, todo: Sequence[int], out: str, model: str, processes: int
) -> Counter[str]:
    """Detect in some parts of a job; return the sums of what was found."""
    total: Counter[str] = Counter()
    memory = 0
    bar = tqdm(
        total=None if job.tars else job.rows,
        initial=0 if job.tars else job.rows - sum(map(job.size, todo)),
        unit='picture',
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )
    with closing(bar):
        for row in detect_parts(job, todo, out, model, processes):
            memory = max(memory, row.pop('memory'))
            if (problem := row.pop('problem')) is not None:
                bar.write(f'left for another start: {problem}', file=sys.stderr)
            total.update(row)
            bar.set_postfix(faces=total['faces'], errors=total['errors'], refresh=False)
            bar.update(row['pictures'])
    spent = sum(total[stage] for stage in STAGES) or 1
    shares = ', '.join(f'{stage} {total[stage] / spent:.1%}' for stage in STAGES)
    print(
        f'time of the processes: {shares}; most memory of one: {memory / 1e6:.0f} MB, '
        f'of this one: {peak_memory() / 1e6:.0f} MB',
        file=sys.stderr,
    )
    return total


def detect_parts(
    job: Job, todo: Sequence[int], out: str, model: str, processes: int
) -> Iterator[dict[str, Any]]:
    """Detect in some parts of a job; yield what :class:`.PartDetector` returns."""
    import ray.data
    from ray.exceptions import RayError

    ray.data.DataContext.get_current().enable_progress_bars = False
    pool = ray.data.ActorPoolStrategy(
        size=min(processes, len(todo)), max_tasks_in_flight_per_actor=1
    )
    step = PARTS_PER_ROUND * processes
    for start in range(0, len(todo), step):
        # They are the only stage before the processes, and each is a block: no other
        # stage waits for a CPU that they hold, and none of them for a share of a block.
        items = [dict(part=part) for part in todo[start : start + step]]
        parts = ray.data.from_items(items, override_num_blocks=len(items))
        found = parts.map(
            PartDetector,
            fn_constructor_args=(job, out, model),
            compute=pool,
            num_cpus=1,
        )
        try:
            yield from found.iter_rows()
        except RayError as error:
            raise OSError(f'a process failed, see the last lines: {error}') from error


@contextmanager
def ray_session(address: str | None, processes: int | None) -> Iterator[int]:
    """Start Ray on this machine, or connect to a cluster; yield how many can work.

    Raises:
        ImportError: If Ray is missing.
        OSError: If it does not start.
        ValueError: If the cluster has fewer CPUs than processes are asked for.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'detect_many needs Ray: pip install "mmdet_srn[onnx,ray]"'
        ) from error
    options = dict(address=address)
    if address is None:
        usable = len(os.sched_getaffinity(0))
        options = dict(
            address='local',
            num_cpus=processes or usable,
            object_store_memory=_OBJECT_STORE,
            include_dashboard=False,
        )
    light = dict(env_vars=dict(MMDET_SRN_LIGHT='1'))  # no PyTorch in the processes
    try:
        ray.init(**options, log_to_driver=False, runtime_env=light)
    except Exception as error:  # of no narrower class
        raise OSError(f'Ray does not start: {error}') from error
    try:
        cpus = int(ray.cluster_resources().get('CPU', 0))
        if cpus < (processes or 1):
            raise ValueError(f'--processes {processes}: the cluster has {cpus} CPUs')
        yield processes or cpus
    finally:
        ray.shutdown()


def report_skipped(skipped: Skipped) -> None:
    """Say what a folder has beside pictures."""
    for message in skipped.unreadable:
        print(f'left out: {message}', file=sys.stderr)
    if skipped.files:
        print(f'skipped: {skipped}', file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_args(argv)
    try:
        return run(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'detect_many: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('stopped; start it again to go on', file=sys.stderr)
        return 128 + signal.SIGINT
