"""The most memory that a call takes."""

import ctypes
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_PROCESS = Path('/proc/self')


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Call a function and say how much memory it took beyond what was held before.

    On a GPU what torch allocated there; on a CPU the process's resident memory, which
    only Linux tells, and only of the whole process.

    Args:
        call (Callable): The function.
        device (torch.device): Where it computes.

    Returns:
        int | None: In bytes; None where it cannot be told.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != 'cpu' or not _reset():
        call()
        return None
    before = _resident('VmRSS')
    call()
    return max(_resident('VmHWM') - before, 0)


def _reset() -> bool:
    """Give back what is free, and make the peak what is held now."""
    if not sys.platform.startswith('linux'):
        return False
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # glibc's
    if trim is not None:
        trim(0)
    try:
        (_PROCESS / 'clear_refs').write_text('5')
    except OSError:  # not in every container
        return False
    return True


def _resident(name: str) -> int:
    status = (_PROCESS / 'status').read_text()
    return 1024 * int(re.search(rf'^{name}:\s+(\d+) kB', status, re.M)[1])
