"""What figures were made on."""

import os
import platform
import re
from pathlib import Path

import torch


def describe_machine(device: str) -> str:
    """Name the machine in a line, for beside its figures.

    Args:
        device (str): Such as 'cpu' or 'cuda:0'.

    Returns:
        str: Processor or GPU, threads and version of torch.
    """
    cores = len(
        getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))(0)
    )
    text = f'{_processor()}, {cores} cores, {torch.get_num_threads()} threads'
    if torch.device(device).type == 'cuda':
        text = f'{torch.cuda.get_device_name(device)}, {text}'
    return f'{text}, torch {torch.__version__}'


def _processor() -> str:
    try:
        known = dict(
            re.findall(r'^(.+?)\s*: (.+)$', Path('/proc/cpuinfo').read_text(), re.M)
        )
    except OSError:  # Linux alone has it
        known = {}
    name = known.get('model name')
    if name is None:
        return platform.processor() or platform.machine()
    if 'cpu family' in known:
        name += f' (family {known["cpu family"]} model {known["model"]})'
    return name
