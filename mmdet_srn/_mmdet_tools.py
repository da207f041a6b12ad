"""Runs the scripts that mmdet ships, for tools/train.py and tools/test.py.

mim looks for a package's scripts in that package, mmdet's own do what is needed:
so ours hand over to them.
"""

import os
import runpy
from pathlib import Path

from ._stack import release, uses_openmmlab


def run_mmdet_tool(name: str) -> None:
    """Runs one of mmdet's scripts as if it had been called itself.

    ``sys.argv`` is left to the script, which so keeps all of its options.

    Args:
        name (str): Name of a script in mmdet's tools folder, such as 'train'.

    Raises:
        FileNotFoundError: If the installed mmdet came without its scripts.
    """
    script = find_mmdet_tool(name)
    allow_full_checkpoints()
    runpy.run_path(str(script), run_name='__main__')


def find_mmdet_tool(name: str) -> Path:
    """Finds a script of the installed mmdet.

    Args:
        name (str): Name of a script in mmdet's tools folder, such as 'train'.

    Returns:
        Path: The script.

    Raises:
        FileNotFoundError: If the installed mmdet came without its scripts.
    """
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


def allow_full_checkpoints() -> None:
    """Lets open-mmlab's mmengine load its own checkpoints with torch >= 2.6.

    They hold more than tensors (message hub, NumPy scalars), mmengine calls
    ``torch.load`` without ``weights_only``, and torch 2.6 turned its default to
    True. onedl-mmengine passes it and needs no help. As before torch 2.6, only
    load checkpoints from a source you trust.
    """
    import torch

    if not uses_openmmlab() or release(torch.__version__) < (2, 6):
        return
    # torch refuses to have both set: a user's own choice goes first.
    if 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ:
        os.environ.setdefault('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
