"""Peak memory of a call."""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_PROCESS = Path('/proc/self')


def peak_memory(call: Callable, device: torch.device) -> tuple[Any, int | None]:
    """Measure how many bytes a call takes beyond what was held before.

    On a GPU, the memory that torch allocates there. On a CPU, the resident memory of
    the whole process, which only Linux tells.

    Returns:
        What the call returned, and the bytes, None where they cannot be measured.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return call(), torch.cuda.max_memory_allocated(device) - before
    if device.type != 'cpu' or not _reset_peak():
        return call(), None
    before = _resident_bytes('VmRSS')
    return call(), max(_resident_bytes('VmHWM') - before, 0)


def _reset_peak() -> bool:
    """Return free memory to the system, and set the peak to what is held now."""
    gc.collect()
    if _PROCESS.exists():  # Linux; malloc_trim is glibc's
        getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: None)(0)
    try:
        (_PROCESS / 'clear_refs').write_text('5')
    except OSError:  # another system, or a container that does not allow it
        return False
    return True


def _resident_bytes(field: str) -> int:
    status = (_PROCESS / 'status').read_text()
    return 1024 * int(re.search(rf'^{field}:\s+(\d+) kB', status, re.M)[1])
