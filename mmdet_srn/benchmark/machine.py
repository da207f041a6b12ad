"""The machine that figures were measured on."""

import os
import platform
import re
from pathlib import Path

import torch


def describe_machine(device: str) -> str:
    """Describe processor or GPU, number of threads and version of torch in a line."""
    name, cores = platform.processor() or platform.machine(), os.cpu_count()
    if (path := Path('/proc/cpuinfo')).exists():  # Linux
        cores = len(os.sched_getaffinity(0))
        known = dict(re.findall(r'^(.+?)\s*: (.+)$', path.read_text(), re.M))
        name = known.get('model name', name)
        if 'cpu family' in known:  # virtual machines often hide the name
            name += f' (family {known["cpu family"]} model {known["model"]})'
    if torch.device(device).type == 'cuda':
        name = f'{torch.cuda.get_device_name(device)}, {name}'
    threads = torch.get_num_threads()
    return f'{name}, {cores} cores, {threads} threads, torch {torch.__version__}'
