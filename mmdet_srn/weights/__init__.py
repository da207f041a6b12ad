"""The detector that comes with the package; README.md beside this file is its card."""

import hashlib
from pathlib import Path

NAME = 'srn_efflite0_faces'
SHA256 = {
    '.pth': '0b68859930dfa9956635e9a5f440d8c445450e34b1d149011c4df1beca74125f',
    '.onnx': 'f6c7d5731f78e9cdffb54db0c16e4068e78a078c6bb9543d8e46500903ee8bfe',
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
