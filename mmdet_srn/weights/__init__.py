"""The detector that comes with the package; README.md beside this file is its card."""

import hashlib
from pathlib import Path

NAME = 'srn_efflite0_faces'
SHA256 = {
    '.pth': '250ef0dc74647ab05d768ac3187172471377834d784767180ae35715bdd6608c',
    '.onnx': '152d391102a6c5c800049a2c5d96eb07a0c72f7ef6bed873adc5ac064cbe1e5b',
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
