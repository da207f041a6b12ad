"""Times the official WIDER FACE evaluation, in seconds of CPU time.

Detections are made up from the ground truth: about 39,000 and about 1.7 million on
all images. The literal re-derivation of the official tool (tests/reference) runs
beside it, and both must agree.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[1]))  # a clone, not installed

from mmdet_srn.evaluation import (
    WIDERFaceDetections,
    evaluate_wider_face,
    read_ground_truth,
    read_results,
    write_results,
)

#: Goals in CPU seconds on one core.
GOALS = {'39k': 0.5, '1.7M': 2.0, 'read': 5.0}


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
    """Calls a function.

    Args:
        function: The function.
        *args: Its arguments.

    Returns:
        Its result, and the CPU seconds that it took.
    """
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def make_detections(ground_truth: Any, count: int, seed: int) -> list[np.ndarray]:
    """Makes up detections: faces found more or less well, and boxes anywhere.

    Half of them are spread evenly over the images and half over the faces, as crowds
    get more.

    Args:
        ground_truth: The ground truth.
        count: How many detections, roughly.
        seed: Seed.

    Returns:
        For each image rows (n, 5), with two decimals as files have: x, y, w, h, score
        (three decimals).
    """
    rng = np.random.default_rng(seed)
    faces = np.diff(ground_truth.offsets)
    share = 0.5 / len(faces) + 0.5 * faces / faces.sum()
    tables = []
    for image, number in enumerate(rng.poisson(count * share)):
        start, end = ground_truth.offsets[image : image + 2]
        boxes = ground_truth.bboxes[rng.integers(start, end, number)].astype(float)
        anywhere = rng.random(number) < 0.3
        boxes[anywhere, :2] = rng.uniform(0, 1000, (np.count_nonzero(anywhere), 2))
        boxes += rng.normal(0, 0.12, boxes.shape) * np.tile(boxes[:, 2:], 2)
        tables.append(np.c_[boxes.round(2), rng.random(number).round(3)])
    return tables


def load_reference() -> ModuleType | None:
    """Loads the literal re-derivation.

    Returns:
        The module, or None where the tests are not (an installed wheel).
    """
    folder = Path(__file__).resolve().parents[1] / 'tests' / 'reference'
    path = folder / 'wider_face_eval_reference.py'
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_literal(reference: ModuleType, tables: list, ground_truth: Any) -> list:
    """Runs the literal re-derivation on all subsets.

    Args:
        reference: The module.
        tables: For each image rows (n, 5).
        ground_truth: The ground truth.

    Returns:
        For each subset AP, precision and recall.
    """
    predictions = [table.tolist() for table in tables]
    bounds = ground_truth.offsets[1:-1]
    faces = [part.tolist() for part in np.split(ground_truth.bboxes, bounds)]
    return [
        reference.evaluate(
            predictions,
            faces,
            [set(np.flatnonzero(part).tolist()) for part in np.split(mask, bounds)],
        )
        for mask in ground_truth.subsets.values()
    ]


def main() -> int:
    """Runs the benchmark and prints a table.

    Returns:
        Exit status: 1 if the evaluations disagree.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--gt-dir',
        required=True,
        metavar='DIR',
        help='folder with the official wider_{easy,medium,hard}_val.mat',
    )
    parser.add_argument(
        '--no-literal',
        action='store_true',
        help='leave the literal re-derivation out, which takes a minute or so',
    )
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    args = parser.parse_args()
    ground_truth, seconds = timed(read_ground_truth, args.gt_dir)
    print(f'{"":44}  CPU s   goal')
    print(f'{"ground truth read":44}{seconds:7.2f}')
    tables = {}
    for name, count in (('39k', 39_000), ('1.7M', 1_700_000)):
        tables[name] = make_detections(ground_truth, count, args.seed)
        detections = WIDERFaceDetections.from_images(tables[name])
        got, seconds = timed(evaluate_wider_face, detections, ground_truth)
        text = f'evaluation of {len(detections.rows):,} detections'
        print(f'{text:44}{seconds:7.2f}{GOALS[name]:7.1f}')
        if name == '39k':
            small = got
    with tempfile.TemporaryDirectory() as folder:
        files = zip(ground_truth.names, ground_truth.names, tables['1.7M'], strict=True)
        print('writing the result files ...', flush=True)
        write_results(folder, files)
        (read, _), seconds = timed(read_results, folder, ground_truth.names)
    text = f'reading {len(read.rows):,} rows of text'
    print(f'{text:44}{seconds:7.2f}{GOALS["read"]:7.1f}')
    reference = None if args.no_literal else load_reference()
    if reference is None:
        print('literal re-derivation left out')
        return 0
    print('literal re-derivation ...', flush=True)
    literal, seconds = timed(run_literal, reference, tables['39k'], ground_truth)
    count = sum(map(len, tables['39k']))
    print(f'{f"literal re-derivation, {count:,} detections":44}{seconds:7.2f}')
    agree = all(
        np.array_equal(fast.precision, slow[1], equal_nan=True)
        and np.array_equal(fast.recall, slow[2])
        and abs(fast.ap - slow[0]) < 1e-12
        for fast, slow in zip(small.values(), literal, strict=True)
    )
    print('the curves agree bit for bit' if agree else 'THE CURVES DISAGREE')
    return 0 if agree else 1


if __name__ == '__main__':
    sys.exit(main())
