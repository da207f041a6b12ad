"""Times functions in turn, so that what else the machine does hits all of them."""

import statistics
import time
from collections.abc import Callable, Sequence


def take_turns(
    calls: Sequence[Callable[[], object]],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], object] = lambda: None,
) -> list[float]:
    """Time functions in turn, after one call of each that is not timed.

    Args:
        calls (Sequence[Callable]): The functions.
        runs (int): Timed calls of each, at least 1.
        clock (Callable[[], float]): Says seconds. Defaults to the wall clock.
        before (Callable): Called before each call, and not timed. Defaults to nothing.

    Returns:
        list[float]: Median of each, in seconds.
    """
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for call, found in zip(calls, times, strict=True):
            before()
            start = clock()
            call()
            if run:
                found.append(clock() - start)
    return [statistics.median(found) for found in times]
