"""Report what a detector finds, misses and invents: figures, curves, pictures.

    mim test mmdet_srn CONFIG --checkpoint X --out results.pkl
    python report_results.py results.pkl report/

Prints the AP by face height; precision, recall, F1 and false positives per image at a
threshold of the score, at the one of the best F1, and at the lowest one that reaches a
wished precision. Writes them to report.json and draws them over the threshold, beside
PR curves, a sample of the images, the largest missed faces and the false positives of
the highest score. All are at IoU 0.5, with the matching of the AP.

Results that hold no annotation, as detection writes them, need one (--ann) in any
format that convert_annotations.py reads:

    python -m mmdet_srn photos/ --format json --out found/ --score-thr 0.02
    python report_results.py found/faces.jsonl report/ --ann photos/labels.txt

Each class of several has a report of its own, in a folder of its own.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmdet_srn  # noqa: F401  before cv2, whose images it limits

# isort: split
import cv2
import matplotlib
import numpy as np
from tabulate import tabulate

from mmdet_srn.datasets import formats
from mmdet_srn.detector.images import read_image
from mmdet_srn.evaluation import (
    FaceAP,
    ImageFaces,
    evaluate_face_ap,
    read_instances,
)
from mmdet_srn.evaluation.json_data import plain
from mmdet_srn.evaluation.operating_points import (
    OperatingPoint,
    best_f1,
    judge,
    lowest_threshold,
    point_at,
)
from mmdet_srn.evaluation.prediction_file import (
    pick_results,
    read_json_lines,
    read_predictions,
    read_result_folder,
)
from mmdet_srn.evaluation.protocols import UNKNOWN_PROTOCOL, describe_protocol

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

VERSION = 1  # of report.json
THRESHOLDS = np.linspace(0, 1, 101)  # of the curves
GREEN, RED, GREY, WHITE = (0, 200, 0), (0, 0, 255), (160,) * 3, (255,) * 3  # BGR


class Mistake(NamedTuple):
    """A missed face or a false positive, and its image."""

    path: str
    faces: ImageFaces
    box: np.ndarray  # xyxy, (4,)
    score: float  # its own; of a face, that of what would find it, or -inf

    def to_json(self) -> dict[str, Any]:
        """Describe it for JSON."""
        _, y1, _, y2 = bbox = self.box.tolist()
        return dict(image=self.path, bbox=bbox, height=y2 - y1, score=self.score)


def share(text: str) -> float:
    """Read a number in (0, 1]."""
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not in (0, 1]')
    return value


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        'results',
        type=Path,
        help="the .pkl of mim test --out, detection's faces.jsonl, or a folder of "
        "result files in WIDER FACE's layout; safe to read",
    )
    add('out', type=Path, help='folder for the report')
    text = 'annotation, in place of that in the results'
    add('--ann', type=Path, metavar='FILE', help=text)
    text = 'its images (default: the folder of --ann)'
    add('--images', type=Path, metavar='DIR', help=text)
    text = (
        'names of the classes, in the order of their labels; with --ann, the labels '
        'that are faces (default: the only one)'
    )
    formats.add_reading_options(parser, [], text)
    text = "the training's vis_data/scalars.json, for the losses"
    add('--log', type=Path, help=text)
    text = 'images on the sheet, and mistakes of each kind (default: %(default)s)'
    add('--num', type=int, default=12, help=text)
    text = 'detections drawn and judged (default: %(default)s)'
    add('--score-thr', type=float, default=0.5, help=text)
    text = 'wished for (default: %(default)s)'
    add('--precision', type=share, default=0.95, help=text)
    text = (
        "name of the test protocol, shown with the figures (default: the results' own)"
    )
    add('--protocol', help=text)
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error('--num must be at least 1')
    if len(set(args.classes)) < len(args.classes):
        parser.error('--classes are to differ')
    return args


def read(args: argparse.Namespace) -> list[dict]:
    """Read the results and their annotation, one dict an image.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one is malformed, or they do not go together.
    """
    if args.ann:
        return read_annotated(args)
    if args.results.is_dir():
        raise ValueError(f'{args.results} holds no annotation: name it with --ann')
    results = read_file(args.results)
    if not all('instances' in result for result in results):
        raise ValueError(
            f"{args.results} holds no annotation: put 'instances' among the meta_keys "
            'of PackDetInputs, or name it with --ann'
        )
    return results


def read_file(path: Path) -> list[dict]:
    """Read a file of results that names its images."""
    if path.suffix == '.jsonl':
        return read_json_lines(path)
    if not path.exists():  # before its suffix is judged
        raise FileNotFoundError(f'{path}: no such file or folder')
    results = read_predictions(path)
    if not all('img_path' in result for result in results):
        raise ValueError(f'{path} names no images')
    return results


def read_annotated(args: argparse.Namespace) -> list[dict]:
    """Join results and an annotation of its own."""
    folder = args.images or (args.ann if args.ann.is_dir() else args.ann.parent)
    _, images = formats.read_annotation(args.ann, args.corners)
    images, left_out = formats.clean(
        images, folder, args.classes, args.boxes_are, args.corners
    )
    paths = [str(folder / image.path) for image in images]
    if args.results.is_dir():
        picked, found = read_result_folder(args.results, paths)
        odd = {k: files for k, files in found.odd.items() if k != 'missing'}
    else:
        results = read_file(args.results)
        picked = pick_results(results, [image.path for image in images], folder)
        odd = {}
    missing = [path for path, found in zip(paths, picked, strict=True) if not found]
    if len(missing) == len(paths):
        raise ValueError(
            f'{args.results} has a result of none of the {len(paths)} images of '
            f'{args.ann}, such as {missing[0]}'
        )
    left_out = {formats.REASONS[reason]: found for reason, found in left_out.items()}
    left_out['images without a result'] = missing
    for kind, found in (left_out | odd).items():
        if found:
            what = 'left out' if kind in left_out else f'in {args.results}'
            print(f'WARNING: {len(found)} {kind} {what}, such as {found[0]}')
    # Only .pkl files know the classes of detections.
    labels = args.classes if args.results.suffix in ('.pkl', '.pickle') else []
    joined = []
    for path, image, result in zip(paths, images, picked, strict=True):
        if result:
            instances = [
                dict(
                    bbox=face.box,
                    bbox_label=labels.index(face.label) if labels else 0,
                    ignore_flag=face.ignored,
                )
                for face in image.faces
            ]
            joined.append(result | dict(img_path=path, instances=instances))
    return joined


def split_classes(
    results: Sequence[dict], names: Sequence[str]
) -> dict[str, list[ImageFaces]]:
    """Prepare each annotated class for the evaluation."""
    annotated = {
        face.get('bbox_label', 0) for result in results for face in result['instances']
    }
    labels = sorted(annotated) or [0]
    tables = [_table(result['pred_instances']) for result in results]
    odd = sum(int(np.sum(~np.isfinite(table).all(axis=1))) for table in tables)
    if odd:
        print(f'WARNING: {odd} detections with NaN or infinite numbers left out')
        tables = [table[np.isfinite(table).all(axis=1)] for table in tables]
    other = sum(int(np.sum(~np.isin(table[:, 5], labels))) for table in tables)
    if other:
        print(f'{other} detections of classes without annotation left out')
    classes = {}
    for label in labels:
        name = 'face' if labels == [0] else f'class {label}'
        name = names[label] if label < len(names) else name
        classes[name] = [
            ImageFaces(
                table[table[:, 5] == label, :4],
                table[table[:, 5] == label, 4],
                *read_instances(result['instances'], label),
            )
            for result, table in zip(results, tables, strict=True)
        ]
    return classes


def _table(found: dict[str, Any]) -> np.ndarray:
    """Put detections into rows x1, y1, x2, y2, score, label (D, 6)."""
    scores = np.asarray(found['scores'], float).reshape(-1)
    bboxes = np.asarray(found['bboxes'], float).reshape(-1, 4)
    return np.c_[bboxes, scores, np.asarray(found.get('labels', 0 * scores))]


def find_mistakes(
    paths: Sequence[str], images: Sequence[ImageFaces], score_thr: float
) -> tuple[list[Mistake], list[Mistake]]:
    """Find missed faces, the largest first, and false positives, by falling score."""
    misses, false = [], []
    for path, image in zip(paths, images, strict=True):
        found, no_face = judge(image)
        misses += [
            Mistake(path, image, image.gt_bboxes[row], float(found[row]))
            for row in np.flatnonzero(found < score_thr)
        ]
        false += [
            Mistake(path, image, image.bboxes[row], float(image.scores[row]))
            for row in np.flatnonzero(no_face & (image.scores >= score_thr))
        ]
    misses.sort(key=lambda miss: miss.box[1] - miss.box[3])
    false.sort(key=lambda detection: -detection.score)
    return misses, false


def draw(
    path: str,
    faces: ImageFaces,
    score_thr: float,
    side: int,
    subject: np.ndarray | None = None,
) -> np.ndarray:
    """Draw an image, or a box of it with what is around, into a square of ``side``."""
    image = read_image(path)
    corner = np.zeros(2, int)
    if subject is not None:
        size = np.array(image.shape[1::-1])
        centre = (subject[:2] + subject[2:]) / 2
        reach = max(*(subject[2:] - subject[:2]), 24)
        corner = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
        end = np.clip(np.ceil(centre + reach), corner + 1, size).astype(int)
        image = image[corner[1] : end[1], corner[0] : end[0]]
    scale = side / max(image.shape[:2])
    width, height = (max(round(scale * n), 1) for n in image.shape[1::-1])
    image = cv2.resize(image, (width, height))

    def rectangle(box: np.ndarray, colour: Sequence[int], line: int = 1) -> list[int]:
        # Far outside, OpenCV's 32 bits would overflow.
        place = np.clip((box - np.tile(corner, 2)) * scale, -side, 2 * side)
        x1, y1, x2, y2 = np.round(place).astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, line)
        return [x1, y1, x2, y2]

    for box, ignored in zip(faces.gt_bboxes, faces.gt_ignored, strict=True):
        rectangle(box, GREY if ignored else GREEN, 1 + np.array_equal(box, subject))
    for box, score in zip(faces.bboxes, faces.scores, strict=True):
        if score < score_thr:
            continue
        x1, y1, _, y2 = rectangle(box, RED, 1 + np.array_equal(box, subject))
        if subject is None:
            y = y1 - 2 if y1 > 9 else y2 + 9
            write(image, f'{score:.2f}', (max(x1, 0), y), RED)
    pad = [(0, side - size) for size in image.shape[:2]]
    return np.pad(image, [*pad, (0, 0)], constant_values=255)


def write(
    image: np.ndarray, text: str, place: tuple[int, int], colour: Sequence[int]
) -> None:
    """Write on an image, black under the colour: readable on anything."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    for shade, width in (((0, 0, 0), 2), (colour, 1)):
        cv2.putText(image, text, place, font, 0.32, shade, width)


def tile(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Put drawn images of one size into rows."""
    blank = np.full_like(tiles[0], 255)
    tiles = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return np.vstack([np.hstack(row) for row in rows])


def draw_mistakes(
    title: str, mistakes: Sequence[tuple[Mistake, str]], score_thr: float
) -> np.ndarray:
    """Draw crops of mistakes, six in a row, each with a caption."""
    tiles = []
    for mistake, caption in mistakes:
        crop = draw(mistake.path, mistake.faces, score_thr, 160, mistake.box)
        tiles.append(np.pad(crop, [(14, 2), (0, 2), (0, 0)]))
        write(tiles[-1], caption, (3, 10), WHITE)
    page = tile(tiles or [np.zeros((0, 162, 3), np.uint8)], 6)
    page = np.pad(page, [(20, 0), (0, 0), (0, 0)], constant_values=64)
    write(page, title, (3, 13), WHITE)
    return page


def save_png(path: Path, image: np.ndarray) -> None:
    """Write an image; imwrite crashes on names that are not UTF-8."""
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    print(f'wrote {path}')


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
    save_figure(figure, path)


def plot_thresholds(
    curves: dict[str, dict[str, list]], points: dict[str, OperatingPoint], path: Path
) -> None:
    """Plot the figures over the threshold, over all faces and by height."""
    figure, panels = plt.subplots(2, 2, figsize=(10, 8), layout='constrained')
    everything, *others = panels.flat
    for name in ('precision', 'recall', 'f1'):
        everything.plot(THRESHOLDS, curves['all'][name], label=name)
    for name, axes in zip(
        ('recall', 'precision', 'false_positives_per_image'), others, strict=True
    ):
        for band, curve in curves.items():
            axes.plot(THRESHOLDS, curve[name], label=band, lw=2 - (band != 'all'))
        axes.set_ylabel(name.replace('_', ' '))
    for axes in panels.flat:
        for (name, point), line in zip(points.items(), ('--', ':', '-.'), strict=False):
            label = name.replace('_', ' ') if axes is everything else None
            axes.axvline(point.threshold, color='k', ls=line, lw=0.8, label=label)
        axes.set(xlabel='threshold of the score', xlim=(0, 1))
        axes.grid(alpha=0.3)
        title = 'all faces' if axes is everything else 'face height in pixels'
        axes.legend(title=title, fontsize='x-small')
    for axes in panels.flat[:3]:
        axes.set_ylim(0, 1.01)
    # Many at low thresholds, few where it matters.
    panels[1, 1].set_yscale('symlog', linthresh=0.01)
    panels[1, 1].set_ylim(0)
    save_figure(figure, path)


def save_figure(figure: plt.Figure, path: Path) -> None:
    """Write a figure and forget it."""
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f'wrote {path}')


def plot_losses(log: Path, path: Path) -> None:
    """Plot each logged loss, and the share of anchors that survive the first step.

    Raises:
        ValueError: If there are none, or a line is broken (names file and line).
    """
    rows, steps = [], []
    for number, line in enumerate(log.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line or b'{}')
            if not isinstance(row, dict):
                raise ValueError('not an object')
            if 'loss' in row:
                steps.append(row['step'])
                rows.append(row)
        except (ValueError, KeyError, RecursionError) as error:
            raise ValueError(f'{log}:{number}: no line of a log: {error!r}') from error
    if not rows:
        raise ValueError(f'{log} holds no losses')
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
    save_figure(figure, path)


def choose_points(
    curve: FaceAP, args: argparse.Namespace, num_images: int
) -> dict[str, OperatingPoint]:
    """Compute the figures at the thresholds of the table that there are.

    Keys: ``score_thr``, ``best_f1``, ``wished_precision``.
    """
    points = dict(
        score_thr=point_at(curve, args.score_thr, num_images),
        best_f1=best_f1(curve, num_images),
        wished_precision=lowest_threshold(curve, args.precision, num_images),
    )
    return {name: point for name, point in points.items() if point}


def print_tables(
    bands: dict[str, FaceAP],
    points: dict[str, OperatingPoint],
    args: argparse.Namespace,
    num_images: int,
) -> None:
    """Print the figures by height and those over all faces."""
    rows = []
    for name, band in bands.items():
        at = point_at(band, args.score_thr, num_images)
        figures = (band.ap, at.precision, at.recall, at.false_positives_per_image)
        rows.append([name, str(band.num_faces), *map(number, figures)])
    columns = ['precision', 'recall', 'FP per image']
    head = ['height (px)', 'faces', 'AP', *columns]
    print(f'By face height, from a score of {args.score_thr:g} on but for the AP:')
    print(tabulate(rows, head, disable_numparse=True, stralign='right'))
    titles = dict(
        score_thr='as given',
        best_f1='best F1',
        wished_precision=f'precision {args.precision:g}',
    )
    rows = []
    for key, at in points.items():
        figures = (at.precision, at.recall, at.f1, at.false_positives_per_image)
        rows.append([titles[key], f'{at.threshold}', *map(number, figures)])
    columns.insert(2, 'F1')
    print(f'\n{tabulate(rows, ["", "threshold", *columns], disable_numparse=True)}')
    if 'best_f1' not in points:
        print('No face is found at any score.')
    if 'wished_precision' not in points:
        best = max(bands['all'].precision, default=0)
        print(
            f'No threshold reaches a precision of {args.precision:g}: the best is '
            f'{best:.4f}.'
        )


def number(value: float) -> str:
    """Format a figure; a dash where there is none."""
    return '-' if math.isnan(value) else f'{value:.4f}'


def threshold_curves(curve: FaceAP, num_images: int) -> dict[str, list]:
    """Compute figure -> its values at :data:`THRESHOLDS`."""
    points = [point_at(curve, float(level), num_images) for level in THRESHOLDS]
    columns = zip(*points, strict=True)
    return {
        name: [*column]
        for name, column in zip(OperatingPoint._fields, columns, strict=True)
    }


def report(
    args: argparse.Namespace,
    out: Path,
    name: str,
    protocol: str,
    paths: Sequence[str],
    images: Sequence[ImageFaces],
) -> None:
    """Print and write everything about a class.

    In report.json a figure that does not exist is null, a threshold that does not exist
    is left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    num = len(images)
    bands = evaluate_face_ap(images)
    points = choose_points(bands['all'], args, num)
    print(
        f'{num} images, class {name}, AP at IoU 0.5 (not official), '
        f'protocol {describe_protocol(protocol)}'
    )
    print_tables(bands, points, args, num)
    curves = {band: threshold_curves(curve, num) for band, curve in bands.items()}
    misses, false = find_mistakes(paths, images, args.score_thr)
    missed, wrong = (Counter(each.path for each in kind) for kind in (misses, false))
    by_height = {
        band: dict(
            faces=curve.num_faces,
            ap=curve.ap,
            # At the thresholds over all faces, and at the band's own ones.
            at={k: point_at(curve, p.threshold, num) for k, p in points.items()},
            own=choose_points(curve, args, num),
            curve=curves[band],
        )
        for band, curve in bands.items()
    }
    content = dict(
        version=VERSION,
        results=str(args.results),
        class_name=name,
        protocol=protocol,
        iou=0.5,
        images=num,
        wished_precision=args.precision,
        thresholds={key: point.threshold for key, point in points.items()},
        by_height=by_height,
        worst_images=[
            dict(image=path, missed=missed[path], false_positives=wrong[path])
            for path, _ in (missed + wrong).most_common(args.num)
        ],
        missed_faces=[each.to_json() for each in misses[: args.num]],
        false_positives=[each.to_json() for each in false[: args.num]],
    )
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    (out / 'report.json').write_text(f'{text}\n', encoding='utf-8')
    print(f'wrote {out / "report.json"}')
    plot_curves(bands, protocol, out / 'pr_curve.png')
    plot_thresholds(curves, points, out / 'thresholds.png')
    pages = [
        draw_mistakes(
            f'{len(misses)} missed faces from a score of {args.score_thr:g} on, the '
            'largest first (green: annotated, grey: ignored, red: detected)',
            [(each, miss_caption(each)) for each in misses[: args.num]],
            args.score_thr,
        ),
        draw_mistakes(
            f'{len(false)} false positives, the highest score first',
            [(each, f'score {each.score:.3f}') for each in false[: args.num]],
            args.score_thr,
        ),
    ]
    save_png(out / 'mistakes.png', np.vstack(pages))
    # Evenly spread over the data set, so that the sheet is no choice of ours.
    picked = np.linspace(0, num - 1, min(args.num, num)).astype(int).tolist()
    drawn = [draw(paths[i], images[i], args.score_thr, 256) for i in picked]
    save_png(out / 'detections.png', tile(drawn, min(4, len(drawn))))


def miss_caption(miss: Mistake) -> str:
    """Say how high a missed face is, and at which score it would be found."""
    found = f'found at {miss.score:.2f}' if miss.score > -math.inf else 'not found'
    return f'{miss.box[3] - miss.box[1]:.0f} px high, {found}'


def main(argv: Sequence[str] | None = None) -> None:
    """Write the reports, print the tables."""
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    try:
        results = read(args)
        protocol = args.protocol or results[0].get('protocol', UNKNOWN_PROTOCOL)
        paths = [result['img_path'] for result in results]
        classes = split_classes(results, args.classes)
        for number, (name, images) in enumerate(classes.items()):
            folder = f'{number}-{name.replace("/", "_")}' if len(classes) > 1 else ''
            report(args, args.out / folder, name, protocol, paths, images)
        if args.log:
            plot_losses(args.log, args.out / 'losses.png')
    except (OSError, ValueError) as error:
        raise SystemExit(f'report_results: {error}') from error


if __name__ == '__main__':
    main()
