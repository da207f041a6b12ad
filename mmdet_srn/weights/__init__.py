"""The detector that comes with the package; README.md beside this file is its card."""

import hashlib
from pathlib import Path

NAME = 'srn_efflite0_faces'
SHA256 = {
    '.pth': '8cc98a9257089e84f3f7799e9419d9bb02ebc5832bcf65ee5824dc52705550f6',
    '.onnx': 'f419447b20ff34ffd8931264bc5876b6d6cf4f7d3a075e2850bdd3296d245e87',
}
_PACKAGE = Path(__file__).resolve().parents[1]


def weights_file(suffix: str) -> Path:
    """Return a file of the weights, after a look at its hash.

    Args:
        suffix: '.pth' for PyTorch, '.onnx' for onnxruntime; one model.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not the one that was shipped.
    """
    path = Path(__file__).with_name(NAME + suffix)
    if not path.is_file():
        raise FileNotFoundError(f'the package lacks {path}: install it again')
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[suffix]:
        raise ValueError(
            f'{path} is not the file that was shipped (another SHA-256): install the '
            'package again, or name your own model'
        )
    return path


def configs_folder() -> Path:
    """Return the folder of the configs: a clone's, or what a wheel installs for mim."""
    clone, installed = _PACKAGE.parent / 'configs', _PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else clone


def config_file() -> Path:
    """Return the config that the weights were trained with."""
    return configs_folder() / f'{NAME}.py'
