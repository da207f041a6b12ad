"""Draw what a test run found: detections, PR curves, losses.

Takes the results that ``mim test mmdet_srn CONFIG --checkpoint X --out results.pkl``
writes and prints the AP over all faces and by face height.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import mmdet_srn  # noqa: F401  before cv2, whose images it limits

# isort: split
import cv2
import matplotlib
import numpy as np

from mmdet_srn.detector.images import ImageError, read_image
from mmdet_srn.evaluation import FaceAP, ImageFaces, evaluate_face_ap
from mmdet_srn.evaluation.prediction_file import read_predictions
from mmdet_srn.evaluation.protocols import UNKNOWN_PROTOCOL, describe_protocol

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

GREEN, RED, GREY = (0, 200, 0), (0, 0, 255), (160, 160, 160)  # BGR


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'results',
        type=Path,
        help='.pkl that mim test --out wrote; safe to read',
    )
    parser.add_argument('out', type=Path, help='folder for the pictures')
    parser.add_argument(
        '--log', type=Path, help="the training's vis_data/scalars.json, for the losses"
    )
    parser.add_argument('--num', type=int, default=12, help='images on the sheet')
    parser.add_argument(
        '--score-thr', type=float, default=0.5, help='detections drawn (default 0.5)'
    )
    parser.add_argument(
        '--protocol',
        help="name of the test protocol, shown with the figures (default: the results' "
        'own)',
    )
    return parser.parse_args()


def to_image_faces(result: dict) -> ImageFaces:
    """Convert one image of the results for the evaluation."""
    faces = result['instances']
    found = result['pred_instances']
    return ImageFaces(
        np.asarray(found['bboxes']).reshape(-1, 4),
        np.asarray(found['scores']),
        np.array([face['bbox'] for face in faces], float).reshape(-1, 4),
        np.array([face['ignore_flag'] for face in faces], bool),
    )


def draw(path: str, faces: ImageFaces, score_thr: float, side: int) -> np.ndarray:
    """Draw one image, fitted into a square of ``side`` pixels."""
    try:
        image = read_image(path)
    except (OSError, ImageError) as error:
        raise SystemExit(str(error)) from error
    scale = side / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale)
    for box, ignored in zip(faces.gt_bboxes, faces.gt_ignored, strict=True):
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), GREY if ignored else GREEN, 1)
    for box, score in zip(faces.bboxes, faces.scores, strict=True):
        if score < score_thr:
            continue
        x1, y1, x2, y2 = np.round(box * scale).astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), RED, 1)
        place = (max(x1, 0), y1 - 2 if y1 > 9 else y2 + 9)
        font = cv2.FONT_HERSHEY_SIMPLEX
        # black under red: readable on anything
        for colour, width in (((0, 0, 0), 2), (RED, 1)):
            cv2.putText(image, f'{score:.2f}', place, font, 0.32, colour, width)
    pad = [(0, side - size) for size in image.shape[:2]]
    return np.pad(image, [*pad, (0, 0)], constant_values=255)


def contact_sheet(
    paths: Sequence[str], images: Sequence[ImageFaces], score_thr: float, side: int
) -> np.ndarray:
    """Tile drawn images, four in a row."""
    tiles = [
        draw(path, faces, score_thr, side)
        for path, faces in zip(paths, images, strict=True)
    ]
    columns = min(4, len(tiles))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return np.vstack([np.hstack(row) for row in rows])


def plot_curves(bands: dict[str, FaceAP], protocol: str, path: Path) -> None:
    """Plot precision over recall, a line per height band."""
    figure, axes = plt.subplots(figsize=(5, 4), layout='constrained')
    for name, band in bands.items():
        if not band.num_faces:
            continue
        label = f'{name}: AP {band.ap:.3f} ({band.num_faces} faces)'
        axes.plot(band.recall, band.precision, label=label, lw=2 - (name != 'all'))
    axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1.01), ylim=(0, 1.01))
    axes.legend(title='face height in pixels', loc='lower left', fontsize='small')
    axes.set_title(f'IoU 0.5, not official; protocol {protocol}', fontsize='small')
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_losses(log: Path, path: Path) -> None:
    """Plot each logged loss, and the share of anchors that survive the first step."""
    rows = [json.loads(line) for line in log.read_text().splitlines() if line]
    rows = [row for row in rows if 'loss' in row]
    if not rows:
        raise SystemExit(f'{log} holds no losses')
    steps = [row['step'] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
    for name in (key for key in rows[0] if key.startswith('loss')):
        axes.plot(steps, [row[name] for row in rows], label=name)
    axes.set(xlabel='iteration', ylabel='loss', yscale='log')
    axes.grid(alpha=0.3)
    if 'stc_survivors' in rows[0]:
        share = axes.twinx()
        values = [row['stc_survivors'] for row in rows]
        share.plot(steps, values, 'k:', label='stc_survivors')
        share.set(ylabel='share of anchors left by the first step', ylim=(0, 1))
        share.legend(loc='upper center', fontsize='small')
    axes.legend(loc='upper right', fontsize='small')
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Write the pictures, print the table."""
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    if not args.results.is_file():
        raise SystemExit(f'{args.results}: no such file (mim test --out writes it)')
    try:
        results = read_predictions(args.results)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if not all({'img_path', 'instances'} <= result.keys() for result in results):
        raise SystemExit(f'{args.results} names no images or no annotation')
    args.out.mkdir(parents=True, exist_ok=True)
    images = [to_image_faces(result) for result in results]
    bands = evaluate_face_ap(images)

    protocol = args.protocol or results[0].get('protocol', UNKNOWN_PROTOCOL)
    print(
        f'{len(results)} images, AP at IoU 0.5 (not official), '
        f'protocol {describe_protocol(protocol)}'
    )
    print(f'{"height (px)":>12} {"faces":>6} {"AP":>7}')
    for name, band in bands.items():
        ap = f'{band.ap:.4f}' if band.num_faces else '-'
        print(f'{name:>12} {band.num_faces:>6} {ap:>7}')

    written = [args.out / 'detections.png', args.out / 'pr_curve.png']
    # Evenly spread over the data set, so that the sheet is no choice of ours.
    picked = np.linspace(0, len(results) - 1, min(args.num, len(results)))
    picked = picked.astype(int).tolist()
    sheet = contact_sheet(
        [results[i]['img_path'] for i in picked],
        [images[i] for i in picked],
        args.score_thr,
        side=256,
    )
    # imwrite crashes on names that are not UTF-8.
    written[0].write_bytes(cv2.imencode('.png', sheet)[1].tobytes())
    plot_curves(bands, protocol, written[1])
    if args.log:
        written.append(args.out / 'losses.png')
        plot_losses(args.log, written[2])
    print('Written:', *written, sep='\n  ')


if __name__ == '__main__':
    main()
