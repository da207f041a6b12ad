"""Whether a checkpoint may run code; the option ``--trust-checkpoint``."""

import argparse
import os
from typing import Any

#: torch's own switch, for those who trust a file.
TRUST = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
#: Its opposite, which torch refuses beside it.
SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


class _Trust(argparse.Action):
    def __call__(self, *args: Any) -> None:
        os.environ.pop(SAFE, None)
        os.environ[TRUST] = '1'


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Give a command the option ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action=_Trust,
        nargs=0,
        help='load a checkpoint even if it can run code; only for files from someone '
        'you trust. Without it, any checkpoint and .onnx file is safe to load',
    )


def is_trusted() -> bool:
    """Whether checkpoints may run code."""
    return os.environ.get(TRUST, '0').lower() in ('1', 'y', 'yes', 'true')
