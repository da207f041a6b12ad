"""Reader of the predictions that ``mim test --out`` writes."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch


class _Unpickler(pickle.Unpickler):
    """Reads what ``mim test --out`` writes, and imports nothing else."""

    _ALLOWED = (
        ('collections', 'OrderedDict'),
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch', 'Size'),
        ('numpy', 'ndarray'),
        ('numpy', 'dtype'),
        *(
            (f'{core}.multiarray', name)
            for core in ('numpy.core', 'numpy._core')  # NumPy 1's and 2's
            for name in ('_reconstruct', 'scalar')
        ),
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return the object that a name in the file stands for, if harmless."""
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            # torch's own loads anything
            return lambda content: torch.load(io.BytesIO(content), weights_only=True)
        if (module, name) == ('_codecs', 'encode'):
            # Bytes in pickle's protocol 2, mmengine's; no other codec is looked up
            return lambda text, _: text.encode('latin1')
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it could run code: it needs {module}.{name}')


def read_predictions(path: str | Path) -> list[dict]:
    """Read what ``mim test --out`` wrote, one dict per image, without running its code.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file, holds no images, or could run code.
    """
    path = Path(path)
    if path.suffix not in ('.pkl', '.pickle'):
        raise ValueError(f'{path} is not a .pkl file, as mim test --out writes')
    try:
        with path.open('rb') as file:
            results = _Unpickler(file).load()
    except OSError:
        raise
    except Exception as error:  # a file of other content can raise anything
        raise ValueError(
            f'{path} holds no results of mim test --out: {error}'
        ) from error
    if not isinstance(results, list) or not all(
        isinstance(each, dict) and 'pred_instances' in each for each in results
    ):
        raise ValueError(f'{path} holds no results of mim test --out')
    if not results:
        raise ValueError(f'{path} holds no images')
    return results
