"""Readers of predictions: what ``mim test --out`` and our detection write.

All give one dict an image, with ``img_path`` and ``pred_instances``.
"""

import io
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .image_names import check_unique, match_end, name_images
from .wider_face_results import ReadReport, read_results


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
            import torch  # whose own loads anything

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


def read_json_lines(path: str | Path) -> list[dict]:
    """Read ``faces.jsonl``, as ``python -m mmdet_srn --format json`` writes it.

    Returns:
        As the other readers, and ``ori_shape``, height and width (0: not there).

    Raises:
        OSError: If it cannot be read.
        ValueError: If a line is no such record (names file and line), or there is none.
    """
    results = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
            image = os.fspath(record['image'])
            shape = int(record.get('height', 0)), int(record.get('width', 0))
            scores = np.array(record['scores'], float).reshape(-1)
            bboxes = np.array(record['bboxes'], float)
            if bboxes.shape != ((len(scores), 4) if len(scores) else (0,)):
                raise ValueError(
                    f'expected {len(scores)} bboxes of 4 numbers, one a score'
                )
        except (
            ValueError,
            TypeError,
            KeyError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ValueError(
                f'{path}:{number}: no line of faces.jsonl: {error!r}'
            ) from error
        found = dict(bboxes=bboxes.reshape(-1, 4), scores=scores)
        results.append(dict(img_path=image, ori_shape=shape, pred_instances=found))
    if not results:
        raise ValueError(f'{path} holds no images')
    return results


def pick_results(
    results: Sequence[dict], names: Sequence[str], folder: str | Path = ''
) -> list[dict | None]:
    """Find the result of each image of an annotation.

    It is that of ``folder/name`` or else, as results may have been made elsewhere, the
    one whose ``img_path`` ends with the name, and with no longer one.

    Args:
        results: With an ``img_path`` each.
        names: Paths of images below ``folder``, with forward slashes.
        folder: The images' folder here.

    Returns:
        A result for each name, None for those without.

    Raises:
        ValueError: If there are several for a name.
    """
    by_name: dict[str, list[dict]] = {name: [] for name in names}
    for result in results:
        if (end := match_end(result['img_path'], by_name)) is not None:
            by_name[end].append(result)
    picked: list[dict | None] = []
    for name in names:
        fits = by_name[name]
        place = os.path.abspath(Path(folder, name))
        here = [each for each in fits if os.path.abspath(each['img_path']) == place]
        fits = here or fits
        if len(fits) > 1:
            paths = ' and '.join(each['img_path'] for each in fits[:2])
            raise ValueError(f'{len(fits)} results may be of {name}, such as {paths}')
        picked.append(fits[0] if fits else None)
    return picked


def read_result_folder(
    folder: str | Path, paths: Sequence[str]
) -> tuple[list[dict | None], ReadReport]:
    """Read a result folder in WIDER FACE's layout, of any data set.

    Files are named by the image and its last folder, as our detection and the official
    results are, or by all folders below the common one, as ``WIDERFaceMetric`` does.

    Args:
        folder: The folder.
        paths: Of the images.

    Returns:
        A result for each image, None where there is no file; and what was odd.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If two images share a file.
    """
    namings = [
        [str(PurePosixPath(title).with_suffix('')) for title in name_images(paths, how)]
        for how in (False, True)
    ]
    names = max(
        namings,
        key=lambda names: sum(Path(folder, f'{name}.txt').is_file() for name in names),
    )
    check_unique(names)
    detections, report = read_results(folder, names)
    missing = set(report.odd['missing'])
    results: list[dict | None] = []
    tables = np.split(detections.rows, detections.offsets[1:-1])
    for path, name, table in zip(paths, names, tables, strict=True):
        x, y, w, h, scores = table.T
        found = dict(bboxes=np.stack((x, y, x + w, y + h), axis=1), scores=scores)
        result = dict(img_path=path, pred_instances=found)
        results.append(None if name in missing else result)
    return results, report
