"""The machine that figures were measured on."""

import os
import platform
import re
from pathlib import Path

import torch


def describe_machine(device: str) -> str:
    """Describe processor or GPU, number of threads and version of torch in a line."""
    only_linux = hasattr(os, 'sched_getaffinity')
    cores = len(os.sched_getaffinity(0)) if only_linux else os.cpu_count()
    text = f'{_processor()}, {cores} cores, {torch.get_num_threads()} threads'
    if torch.device(device).type == 'cuda':
        text = f'{torch.cuda.get_device_name(device)}, {text}'
    return f'{text}, torch {torch.__version__}'


def _processor() -> str:
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:  # only Linux has it
        text = ''
    known = dict(re.findall(r'^(.+?)\s*: (.+)$', text, re.M))
    name = known.get('model name') or platform.processor() or platform.machine()
    if 'cpu family' in known:  # virtual machines often hide the name
        name += f' (family {known["cpu family"]} model {known["model"]})'
    return name
