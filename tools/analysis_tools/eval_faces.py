"""Evaluate detections on FDDB, AFW or PASCAL face.

DETECTIONS: faces.jsonl or the folder wider/ of python -m mmdet_srn; or FDDB's file or
folder ("name", count, rows "x y w h score" or ellipses); or face-eval's rows "name
score x1 y1 x2 y2". evaluation/fddb.py and face_eval.py say whose rules are followed
and what differs. Needs NumPy, OpenCV, Pillow and SciPy; neither PyTorch nor mmdet.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.evaluation import ImageFaces, face_eval, fddb
from mmdet_srn.evaluation.detection_files import Detections, read_detections
from mmdet_srn.evaluation.json_data import plain

NUM_IMAGES = dict(fddb=2845, afw=205, pascal=851)
LIMITS = (100, 500, 1000, 2000)  # false positives


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line (None: the process's own)."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('detections', metavar='DETECTIONS', type=Path)
    add('--benchmark', required=True, choices=NUM_IMAGES)
    add(
        '--ann',
        required=True,
        type=Path,
        help="FDDB-folds or an ...-ellipseList.txt; face-eval's "
        'new_annotations_AFW.mat or Annotations_Face_PASCALLayout_large_fixed.mat',
    )
    add(
        '--images',
        type=Path,
        help="FDDB's originalPics, for the sizes of the images; faces.jsonl has them",
    )
    add('--json', type=Path, help='write figures and curves here')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print and write; return the exit status."""
    args = parse_args(argv)
    try:
        figures = (evaluate_fddb if args.benchmark == 'fddb' else evaluate_ap)(args)
        whole, given = NUM_IMAGES[args.benchmark], figures['images']
        if args.benchmark == 'fddb':  # the other formats may leave out empty images
            given -= figures['images without an entry']
        if given != whole:
            print(f'WARNING: {given} of {whole} images, NOT COMPARABLE')
        for name, value in figures.items():
            if name != 'curve':
                text = f'{value:.4f}' if isinstance(value, float) else str(value)
                print(f'{name:34}{text:>8}')
        if args.json:
            args.json.write_text(f'{json.dumps(figures)}\n', encoding='utf-8')
    except (OSError, ValueError) as error:
        print(f'eval_faces: {error}', file=sys.stderr)
        return 1
    return 0


def evaluate_fddb(args: argparse.Namespace) -> dict[str, Any]:
    """Return FDDB's figures; raise OSError or ValueError."""
    faces = fddb.read_ellipses(args.ann)
    found = read_detections(args.detections, faces)

    def images() -> Iterator[fddb.Image]:
        for name, ellipses in faces.items():
            rows, size = found.rows.get(name, np.zeros((0, 5))), found.sizes.get(name)
            if not size and len(rows):
                if not args.images:
                    raise ValueError('--images is needed, for the sizes of the images')
                with Image.open(args.images / f'{name}.jpg') as file:  # its header
                    size = file.size
            yield ellipses, rows, size or (1, 1)

    curve = fddb.evaluate_fddb(images())
    figures = _counts(faces, found, curve.num_faces)
    figures['false positives in all'] = int(curve.false_positives.max(initial=0))
    for kind in ('discrete', 'continuous'):
        for limit in LIMITS:
            rate = fddb.rate_at(getattr(curve, kind), curve.false_positives, limit)
            figures[f'{kind}, {limit} false positives'] = rate
    return figures | _curve(curve)


def evaluate_ap(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of AFW or PASCAL face; raise OSError or ValueError."""
    faces = face_eval.read_annotation(args.ann)
    found = read_detections(args.detections, faces)
    images = []
    for name, (bboxes, ignored) in faces.items():
        rows = found.rows.get(name, np.zeros((0, 5)))
        if rows.shape[1] != 5:
            raise ValueError(f'{name} has ellipses, which are for FDDB alone')
        detected = np.hstack((rows[:, :2], rows[:, :2] + rows[:, 2:4]))
        images.append(ImageFaces(detected, rows[:, 4], bboxes, ignored))
    refined = face_eval.evaluate_boxes(images)
    figures = _counts(faces, found, refined.num_faces)
    figures['AP, boxes refined (as published)'] = refined.ap
    figures['AP, boxes as detected'] = face_eval.evaluate_boxes(images, 0).ap
    return figures | _curve(refined)


def _counts(faces: dict, found: Detections, num_faces: int) -> dict[str, Any]:
    scores = np.concatenate([rows[:, -1] for rows in found.rows.values()])
    return {
        'images': len(faces),
        'images without an entry': len(faces) - len(found.rows),
        'other images, left out': len(found.others),
        'faces to find': num_faces,
        'detections': len(scores),
        'lowest score': float(scores.min()) if len(scores) else None,
    }


def _curve(curve: Any) -> dict[str, dict[str, list]]:
    """Return its arrays as lists; NaN (nothing counted yet) as None."""
    fields = curve._asdict().items()
    return dict(curve=plain({k: v for k, v in fields if isinstance(v, np.ndarray)}))


if __name__ == '__main__':
    sys.exit(main())
