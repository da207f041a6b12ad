"""The detector that comes with the package; README.md beside this file is its card."""

import hashlib
from pathlib import Path

NAME = 'srn_efflite0_faces'
FREE = 'srn_efflite0_faces_free'
SHA256 = {
    f'{NAME}.pth': '43716605e2afd78788b2abc78452649bdd964453459226a7b983d66400a28ba4',
    f'{NAME}.onnx': '78a89a129f245ab66d3cd20dfee3c0791ce4c0b7861777eafdf60f0f88e98b54',
    f'{FREE}.pth': 'bec670ecf020ac6c76affcd7dcf8018f1b8049315728f964b21326fd4022d1b2',
}
_PACKAGE = Path(__file__).resolve().parents[1]


def weights_file(suffix: str, name: str = NAME) -> Path:
    """Return a file of the weights, after a look at its hash.

    Args:
        suffix: '.pth' for PyTorch, '.onnx' for onnxruntime; one model.
        name: The detector; ``FREE`` is the one from photographs with free terms, a
            '.pth' alone.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not the one that was shipped, or none is.
    """
    path = Path(__file__).with_name(name + suffix)
    if path.name not in SHA256:
        raise ValueError(f'{path.name} is none of {", ".join(SHA256)}')
    if not path.is_file():
        raise FileNotFoundError(f'the package lacks {path}: install it again')
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[path.name]:
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
