"""Runs that are not finished are run, a few at a time."""

import fcntl
import queue
import re
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from .commands import (
    Launch,
    anchor_ratio_command,
    environment,
    test_command,
    train_command,
)
from .plan import Run
from .process import Processes, tail
from .result import (
    State,
    checkpoint_of,
    is_tested,
    read_anchor_ratio,
    read_cost,
    read_result,
    state_of,
    write_result,
    write_settings,
)


class Failure(NamedTuple):
    """A run that did not get through.

    Attributes:
        run: The run.
        reason: One line.
        end_of_log: The last lines of its log; empty if they say nothing of it.
    """

    run: Run
    reason: str
    end_of_log: str = ''


class RunError(RuntimeError):
    """A process of a run failed."""


class StaleError(RunError):
    """The folder has come to hold a run of other settings."""


class BusyError(RuntimeError):
    """Another process works in the folder."""


def run_all(
    runs: Sequence[Run],
    launch: Launch,
    jobs: int = 1,
    with_ratio: Sequence[Run] = (),
    say: Callable[[str], Any] = print,
) -> list[Failure]:
    """Run what is not finished; a run that fails does not stop the others.

    Args:
        runs: The runs; a finished one is left as it is. What is in a folder has been
            made with the run's settings, see :func:`state_of`.
        launch: How each is started.
        jobs: Runs at a time.
        with_ratio: Those of the runs that Figure 1a needs.
        say: Gets each line of progress.

    Returns:
        What failed.

    Raises:
        KeyboardInterrupt: If the user stops it, after the processes have ended.
    """
    todo = [run for run in runs if is_needed(run, launch, run in with_ratio)]
    text = f'{len(runs)} runs, {len(runs) - len(todo)} of them finished already'
    if trained := sum(state_of(run) is State.UNTESTED for run in todo):
        text += f', {trained} trained already and only tested again'
    say(text)
    processes = Processes()
    slots: queue.Queue[int] = queue.Queue()
    for slot in range(jobs):
        slots.put(slot)
    numbers = {run.folder: number for number, run in enumerate(runs, start=1)}
    progress = _Progress(len(todo), jobs, say)

    def work(run: Run) -> float:
        slot = slots.get()
        try:
            if processes.stopping.is_set():
                raise RunError('not started')
            title = f'[{numbers[run.folder]}/{len(runs)}] {run.name} seed {run.seed}'
            progress.start(title, run, state_of(run))
            start = time.monotonic()
            env = environment(slot, jobs, launch.gpus)
            run_one(run, launch, processes, env, run in with_ratio)
            seconds = time.monotonic() - start
            progress.done(title, run, seconds)
            return seconds
        finally:
            slots.put(slot)

    failures = []
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future, Run] = {pool.submit(work, run): run for run in todo}
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, 2, FIRST_COMPLETED)
                for future in finished:
                    run = futures[future]
                    if (error := future.exception()) is not None:
                        failure = _failure(run, error)
                        progress.failed(failure)
                        failures.append(failure)
                progress.tick()
        except KeyboardInterrupt:
            say('stopping ...')
            processes.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return failures


def is_needed(run: Run, launch: Launch, with_ratio: bool) -> bool:
    """Whether a run has something left to do."""
    return read_result(run) is None or (with_ratio and not _has_ratio(run, launch))


def run_one(
    run: Run,
    launch: Launch,
    processes: Processes,
    env: dict[str, str],
    with_ratio: bool = False,
) -> None:
    """Run one cell with one seed: training, test, counts, as far as they are missing.

    Args:
        run: The run.
        launch: How it is started.
        processes: Starts its processes.
        env: Their environment.
        with_ratio: Whether Figure 1a needs it.

    Raises:
        RunError: If a process fails.
        StaleError: If the folder has come to hold a run of other settings.
        BusyError: If another process, of this tool or started by it, is at it.
    """
    with _lock(run) as lock:
        log = run.folder / 'log.txt'

        def call(what: str, command: list[str]) -> None:
            status = processes.run(command, log, env, keep=[lock.fileno()])
            if status:
                raise RunError(f'{what} ended with status {status}')

        # What it was before the lock was had may be over.
        state = state_of(run)
        if state is State.STALE:
            raise StaleError(
                f'{run.folder} has come to hold a run of other settings since the '
                'tool was started'
            )
        if state is State.UNTESTED:
            seconds, resumed = read_cost(run)
            write_settings(run)
            call('the test', test_command(run, launch, checkpoint_of(run)))
            write_result(run, seconds, resumed)
        elif state is not State.FINISHED:
            write_settings(run)
            start = time.monotonic()
            call('training', train_command(run, launch))
            if launch.tta or not is_tested(run):
                call('the test', test_command(run, launch, checkpoint_of(run)))
            write_result(run, time.monotonic() - start, state is not State.NEW)
        if with_ratio and not _has_ratio(run, launch):
            command = anchor_ratio_command(run, launch, checkpoint_of(run))
            call('counting anchors', command)


def forget(run: Run) -> None:
    """Remove what a run has left, to run it anew.

    Raises:
        BusyError: If a process is still at it.
    """
    with _lock(run):
        shutil.rmtree(run.folder)


def _has_ratio(run: Run, launch: Launch) -> bool:
    ratio = read_anchor_ratio(run)
    # Fewer batches, if the data has no more.
    return ratio is not None and ratio.get('asked', -1) == launch.batches


@contextmanager
def _lock(run: Run) -> Any:
    """Hold a run's folder; its processes hold it as well, should this one be killed."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    path = run.folder.with_name(f'.{run.folder.name}.lock')
    file: IO[str]
    with path.open('w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f'another process is at work in {run.folder}; wait for it, or end it'
            ) from None
        yield file


def _failure(run: Run, error: BaseException) -> Failure:
    # The log would be that of the other run.
    if isinstance(error, RunError) and not isinstance(error, StaleError):
        return Failure(run, str(error), tail(run.folder / 'log.txt'))
    if isinstance(error, (BusyError, StaleError, OSError, ValueError)):
        return Failure(run, str(error))
    raise error


class _Progress:
    """Says what is done and what is left; runs may start and end at the same time."""

    def __init__(self, total: int, jobs: int, say: Callable[[str], Any]) -> None:
        self.total, self.jobs, self.say = total, jobs, say
        self.begin = time.monotonic()
        self.seconds: list[float] = []
        self.count = 0
        self.running: dict[str, Run] = {}
        self.lock = threading.Lock()
        self.live = say is print and sys.stdout.isatty()

    def start(self, title: str, run: Run, state: State) -> None:
        what = 'trained already, tested again' if state is State.UNTESTED else 'started'
        with self.lock:
            self.running[title] = run
            self._line(f'{title}: {what}, log in {run.folder / "log.txt"}')

    def done(self, title: str, run: Run, seconds: float) -> None:
        result = read_result(run)
        metrics = result['metrics'] if result else {}
        name = 'hard' if 'hard' in metrics else 'AP'
        ap = f', {name} {100 * metrics[name]:.1f}' if name in metrics else ''
        with self.lock:
            self.running.pop(title)
            self.seconds.append(seconds)
            self.count += 1
            self._line(f'{title}: done in {duration(seconds)}{ap}; {self._left()}')

    def failed(self, failure: Failure) -> None:
        run = failure.run
        text = f'{run.name} seed {run.seed} FAILED: {failure.reason}'
        if failure.end_of_log:
            text += f'\nend of {run.folder / "log.txt"}:\n{failure.end_of_log.rstrip()}'
        with self.lock:
            self.count += 1
            self.running = {t: r for t, r in self.running.items() if r is not run}
            self._line(f'{text}\n{self._left()}')

    def tick(self) -> None:
        """On a terminal, show how far the running ones are."""
        if not self.live:
            return
        with self.lock:
            self._show()

    def _show(self) -> None:
        if not self.running:
            return
        title, run = next(iter(self.running.items()))
        found = re.findall(
            r'Epoch\(\w+\)\s+(\[\d+\]\s*\[\s*\d+/\d+\]).*?eta: ([\d:]+)',
            tail(run.folder / 'log.txt', 40),
        )
        where = ' {}, its eta {}'.format(*found[-1]) if found else ''
        print(f'\r\033[K{title}{where}; {self._left()}'[:150], end='', flush=True)

    def _left(self) -> str:
        left = self.total - self.count
        text = (
            f'{self.count} of {self.total} done, '
            f'{duration(time.monotonic() - self.begin)} elapsed'
        )
        if left and self.seconds:
            expected = statistics.mean(self.seconds) * left / self.jobs
            text += f', about {duration(expected)} left'
        return text

    def _line(self, text: str) -> None:
        if self.live:
            print('\r\033[K', end='')
        self.say(text)


def duration(seconds: float) -> str:
    """A time span for the reader, such as '2 min 05 s'."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02} min'
