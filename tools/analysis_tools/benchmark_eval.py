"""Time the official WIDER FACE evaluation, in seconds of CPU time.

Synthetic detections are made from the ground truth, about 39,000 and about 1.7 million
on all images. The literal re-derivation of the official tool (tests/reference) runs
beside it, and both must agree.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.evaluation import (
    WIDERFaceDetections,
    evaluate_wider_face,
    read_ground_truth,
    read_results,
    write_results,
)

try:
    from tests.reference import wider_face_eval_reference
except ImportError:  # an installed wheel
    wider_face_eval_reference = None

#: Goals in CPU seconds on one core.
GOALS = {'39k': 0.5, '1.7M': 2.0, 'read': 5.0}


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
    """Call a function; return its result and the CPU seconds that it took."""
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def make_detections(ground_truth: Any, count: int, seed: int) -> list[np.ndarray]:
    """Make detections: faces found more or less well, and boxes anywhere.

    Half of them are spread evenly over the images and half over the faces, as crowds
    get more.

    Returns:
        For each image, rows (n, 5) of x, y, w, h and score, with two (score: three)
        decimals as in result files; ``count`` rows in all, roughly.
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


def run_literal(tables: list, ground_truth: Any) -> list:
    """Run the literal re-derivation; return AP, precision and recall of each subset."""
    predictions = [table.tolist() for table in tables]
    bounds = ground_truth.offsets[1:-1]
    faces = [part.tolist() for part in np.split(ground_truth.bboxes, bounds)]
    return [
        wider_face_eval_reference.evaluate(
            predictions,
            faces,
            [set(np.flatnonzero(part).tolist()) for part in np.split(mask, bounds)],
        )
        for mask in ground_truth.subsets.values()
    ]


def main() -> int:
    """Run the benchmark and print a table; return 1 if the evaluations disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    text = 'folder with the official wider_{easy,medium,hard}_val.mat'
    parser.add_argument('--gt-dir', required=True, metavar='DIR', help=text)
    text = 'leave out the literal re-derivation, which takes a minute or so'
    parser.add_argument('--no-literal', action='store_true', help=text)
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    args = parser.parse_args()
    truth, seconds = timed(read_ground_truth, args.gt_dir)
    rows = [['ground truth read', seconds]]
    tables, results = {}, {}
    for name, count in (('39k', 39_000), ('1.7M', 1_700_000)):
        tables[name] = make_detections(truth, count, args.seed)
        detections = WIDERFaceDetections.from_images(tables[name])
        results[name], seconds = timed(evaluate_wider_face, detections, truth)
        text = f'evaluation of {len(detections.rows):,} detections'
        rows.append([text, seconds, GOALS[name]])
    with tempfile.TemporaryDirectory() as folder:
        files = zip(truth.names, truth.names, tables['1.7M'], strict=True)
        print('writing the result files ...', flush=True)
        write_results(folder, files)
        (read, _), seconds = timed(read_results, folder, truth.names)
    rows.append([f'reading {len(read.rows):,} rows of text', seconds, GOALS['read']])
    agree = True
    if args.no_literal or wider_face_eval_reference is None:
        message = 'literal re-derivation left out'
    else:
        print('literal re-derivation ...', flush=True)
        literal, seconds = timed(run_literal, tables['39k'], truth)
        count = sum(map(len, tables['39k']))
        rows.append([f'literal re-derivation, {count:,} detections', seconds])
        agree = all(
            np.array_equal(fast.precision, slow[1], equal_nan=True)
            and np.array_equal(fast.recall, slow[2])
            and abs(fast.ap - slow[0]) < 1e-12
            for fast, slow in zip(results['39k'].values(), literal, strict=True)
        )
        message = 'the curves agree bit for bit' if agree else 'THE CURVES DISAGREE'
    names = ['', 'CPU s', 'goal']
    print(tabulate(rows, names, 'plain', floatfmt=('', '.2f', '.1f')))
    print(message)
    return 0 if agree else 1


if __name__ == '__main__':
    sys.exit(main())
