"""Run the scripts that mmdet ships, for tools/train.py and tools/test.py.

mim looks for a package's scripts in that package; ours hand over to mmdet's.
"""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

# The data loaders of each of mmdet's scripts.
_LOADERS = {
    'train': ('train_dataloader', 'val_dataloader'),
    'test': ('test_dataloader',),
}


def run_mmdet_tool(name: str) -> None:
    """Run one of mmdet's scripts, such as 'train', with ``sys.argv``.

    The script keeps all of its options; :func:`take_own_options` adds ours.

    Raises:
        FileNotFoundError: If the installed mmdet came without its scripts.
    """
    script = find_mmdet_tool(name)
    take_own_options(_LOADERS.get(name, ()))
    join_processes_without_gpu()
    runpy.run_path(str(script), run_name='__main__')
    leave_processes()


def find_mmdet_tool(name: str) -> Path:
    """Find a script of the installed mmdet, such as 'train'.

    Raises:
        FileNotFoundError: If it came without its scripts.
    """
    from . import register

    register()
    import mmdet

    package = Path(mmdet.__file__).parent
    candidates = (
        package / '.mim' / 'tools' / f'{name}.py',  # as installed
        package.parent / 'tools' / f'{name}.py',  # a clone of mmdet on the path
    )
    for script in candidates:
        if script.is_file():
            return script
    raise FileNotFoundError(
        f'mmdet {mmdet.__version__} came without its tools/{name}.py: neither '
        f'{candidates[0]} nor {candidates[1]} exists. Reinstall mmdet from its wheel.'
    )


def take_own_options(loaders: Sequence[str]) -> None:
    """Take the options that mmdet's scripts do not know from the command line.

    ``--trust-checkpoint``, and ``--num-workers N`` for scripts with loaders, which
    becomes settings of theirs. With 0 a loader reads in the process itself; PyTorch
    then refuses ``persistent_workers=True``.

    Args:
        loaders: Names of the loaders in the config.
    """
    from .trust import add_trust_option

    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    add_trust_option(parser)
    if loaders:
        parser.add_argument(
            '--num-workers',
            type=int,
            metavar='N',
            help=f'worker processes of {" and ".join(loaders)}, in the place of the '
            "config's; 0 reads in the process itself",
        )
    if {'-h', '--help'} & {*sys.argv[1:]}:
        print(parser.format_help())
    arguments, sys.argv[1:] = parser.parse_known_args()
    number = getattr(arguments, 'num_workers', None)
    if number is None:
        return
    values = dict(num_workers=number)
    if not number:
        values['persistent_workers'] = False
    sys.argv += ['--cfg-options']
    sys.argv += [
        f'{at}.{name}={value}' for at in loaders for name, value in values.items()
    ]


def join_processes_without_gpu() -> None:
    """Make ``--launcher pytorch`` work on a machine without a GPU, over gloo.

    mmengine calls ``torch.cuda.set_device`` before it joins the processes, and gives
    ``DistributedDataParallel`` a device number; both fail without a GPU. So the
    processes are joined here, which mmengine notices, and the wrapper gets no device.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--launcher')
    if parser.parse_known_args()[0].launcher != 'pytorch':
        return
    import torch

    if torch.cuda.is_available() or 'RANK' not in os.environ:
        return
    torch.distributed.init_process_group('gloo')
    # As mmengine wraps a model without model_wrapper_cfg, but for device_ids.
    wrapper = dict(
        type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
    )
    sys.argv += ['--cfg-options']
    sys.argv += [f'model_wrapper_cfg.{name}={value}' for name, value in wrapper.items()]


def leave_processes() -> None:
    """Leave the joined processes together, which mmengine does not do.

    Otherwise gloo's threads may release tensors at interpreter exit, which aborts a
    process whose training has succeeded.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
