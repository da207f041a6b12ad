"""A clock that waits for the device."""

import time
from collections.abc import Callable

import torch


def device_clock(device: torch.device) -> Callable[[], float]:
    """Make a clock for what is computed on a device.

    Args:
        device (torch.device): A GPU works on after its call returned; then each
            reading waits for it.

    Returns:
        Callable[[], float]: Says seconds of wall clock.
    """
    if device.type != 'cuda':
        return time.perf_counter

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
