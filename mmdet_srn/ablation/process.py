"""Processes that a run waits for, and that end with the tool."""

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

#: Seconds that a process gets to end by itself when it is told to.
GRACE = 10


class Processes:
    """Starts processes, each leading a group of its own, and can stop them all."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()

    def run(
        self,
        command: Sequence[str],
        log: Path,
        env: dict[str, str],
        keep: Sequence[int] = (),
    ) -> int:
        """Run a command to its end.

        Args:
            command: The command.
            log: What it prints is added to this file, after the command itself.
            env: Its environment.
            keep: Open files that it inherits; a lock on one lasts as long as it.

        Returns:
            Its exit status; negative: the signal that ended it.
        """
        with log.open('a', encoding='utf-8') as out:
            out.write(f'$ {shlex.join(command)}\n')
            out.flush()
            with self._lock:
                if self.stopping.is_set():
                    return -signal.SIGTERM
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=env,
                    pass_fds=tuple(keep),
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)

    def stop(self) -> None:
        """End all processes with their children, and start no more."""
        with self._lock:
            self.stopping.set()
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        for process in running:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen, number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)  # the group has its leader's number


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log."""
    if not log.is_file():
        return '(no log)'
    return '\n'.join(
        log.read_text(encoding='utf-8', errors='replace').split('\n')[-lines:]
    )
