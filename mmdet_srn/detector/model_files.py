"""The model that a command line names."""

import argparse
from pathlib import Path

from ..file_hash import hash_files
from ..trust import add_trust_option
from ..weights import configs_folder, weights_file


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that name a model and how to run it."""
    parser.add_argument(
        '--config',
        help="the model's config, or the name of one that is shipped (default: the "
        'one beside the checkpoint)',
    )
    parser.add_argument(
        '--checkpoint',
        help='its weights, or an exported .onnx file without --config (default: the '
        'shipped model)',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:0 (default: a GPU if any)'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='least score of a face (default: %(default)s)',
    )
    parser.add_argument(
        '--max-size',
        type=int,
        default=2048,
        help='longest side for the detector in pixels, 0: any (default: %(default)s, '
        'for which the shipped model takes 1.3 to 1.6 GB, ResNet-50 about 3)',
    )
    add_trust_option(parser)


def find_model(
    config: str | None, checkpoint: str | None
) -> tuple[str | None, str | None]:
    """Find the files of the model that a command line names.

    Args:
        config: A file, or the name of one that is shipped.
        checkpoint: A file.

    Returns:
        Config (None for ONNX) and checkpoint; None and None for the shipped model.

    Raises:
        FileNotFoundError: If one of the two is missing and cannot be told.
    """
    if checkpoint is None:
        if config is not None:
            raise FileNotFoundError('--config needs --checkpoint, the weights')
        return None, None
    if checkpoint.endswith('.onnx'):
        return config, checkpoint
    if config is None:
        beside = sorted(Path(checkpoint).parent.glob('*.py'))
        if len(beside) != 1:
            raise FileNotFoundError(
                f'{len(beside)} configs beside {checkpoint}: name one with --config'
            )
        return str(beside[0]), checkpoint
    shipped = configs_folder() / config
    if not Path(config).is_file() and shipped.is_file():
        return str(shipped), checkpoint
    return config, checkpoint


def hash_model(config: str | None, checkpoint: str | None) -> str:
    """Return a SHA-256 of a model's files as :func:`find_model` returns them.

    Of the config its own text counts, not the ones that it inherits.
    """
    return hash_files(*filter(None, (checkpoint or weights_file('.onnx'), config)))
