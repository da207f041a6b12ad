"""A reading, such as a clock's, split between the parts of a computation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps


class PartMeter:
    """Says by how much a reading rises in each part; inner parts count apart.

    Attributes:
        totals (dict[str, float]): Of each part that was entered, without the parts
            inside it. Their sum is what the reading rose by in the outermost ones.

    Args:
        read (Callable[[], float]): The reading, such as ``time.perf_counter``.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self.totals: dict[str, float] = {}
        self._read = read
        self._inside: list[str] = []
        self._last = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens now for a part.

        Args:
            name (str): The part; it may be entered again and inside others.

        Yields:
            None: Inside it.
        """
        self._settle()
        self._inside.append(name)
        self.totals.setdefault(name, 0)
        try:
            yield
        finally:
            self._settle()
            self._inside.pop()

    def metered(self, function: Callable, name: str) -> Callable:
        """Make of a function the same one that counts for a part."""

        @wraps(function)
        def counted(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return counted

    def _settle(self) -> None:
        now = self._read()
        if self._inside:
            self.totals[self._inside[-1]] += now - self._last
        self._last = now
