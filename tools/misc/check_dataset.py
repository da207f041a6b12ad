"""Check WIDER FACE, or faces annotated in any usual format, before training.

Decodes every image in full, in several processes; compares counts with the official
ones and boxes with their image. All of WIDER FACE takes about 2.5 CPU minutes.

exit status, the lowest of those that hold:
  0  whole, and as official; with --custom: sound
  1  the check itself failed
  2  wrong usage
  3  an annotation or a folder is missing, or an annotation is malformed
  4  images are missing or cannot be decoded in full
  5  counts other than the official ones
  6  boxes wholly outside their image, images of another size than COCO's JSON says,
     or no face to find at all
  130  interrupted
(mim run makes a 1 of each but 0.)
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.datasets import checks, formats
from mmdet_srn.datasets.image_scan import scan_images
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError
from mmdet_srn.detector.images import ImageError, read_image


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        'root',
        metavar='ROOT',
        type=Path,
        help="the data set's folder, with WIDER_train/images and so on",
    )
    add(
        '--custom',
        action='store_true',
        help='a data set of your own, or a part of WIDER FACE, in the same layout: any '
        'number of images and boxes, and a single split, are fine',
    )
    add(
        '--splits',
        nargs='+',
        choices=checks.OFFICIAL,
        default=[],
        help='what to check (default: train, val, and test if its images are there; '
        'with --custom what is there)',
    )
    add(
        '--ann-file',
        metavar='FILE',
        type=Path,
        nargs='+',
        default=[],
        help='check this annotation as a custom data set: a file, or a folder of YOLO, '
        'Pascal VOC or LabelMe; below ROOT, or absolute. Several, such as those of '
        'train and val, are searched for the same images',
    )
    formats.add_reading_options(
        parser, ['face'], 'labels of faces, where a format has any (default: face)'
    )
    add(
        '--images',
        metavar='DIR',
        type=Path,
        help='the folder of its images; below ROOT, or absolute',
    )
    # Only Linux tells the cores that this process may use.
    cores = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))(0)
    add(
        '--workers',
        metavar='N',
        type=int,
        default=len(cores),
        help='processes that decode (default: one per CPU core, %(default)s here)',
    )
    add('--json', metavar='FILE', type=Path, help='write all findings here')
    add(
        '--sheet',
        metavar='FILE',
        type=Path,
        help='draw some of the findings on boxes (.png)',
    )
    add(
        '--fix',
        metavar='FILE',
        type=Path,
        help="write --ann-file without what is broken, as WIDER FACE's text or COCO's "
        'JSON (.json)',
    )
    add(
        '--list',
        metavar='N',
        type=int,
        default=3,
        help='findings of each kind to print (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error('--workers must be at least 1')
    if bool(args.ann_file) != (args.images is not None):
        parser.error('--ann-file and --images need each other')
    if args.fix and len(args.ann_file) != 1:
        parser.error('--fix needs one --ann-file')
    if args.ann_file and args.splits:
        parser.error('--splits are of the official layout, --ann-file is not')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the check; returns the exit status."""
    args = parse_args(argv)
    try:
        return check_dataset(args)
    except (OSError, RuntimeError, AnnotationError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('check_dataset: interrupted', file=sys.stderr)
        return 130


def check_dataset(args: argparse.Namespace) -> int:
    """Check, print and write; returns the exit status."""
    custom = args.custom or bool(args.ann_file)
    if args.ann_file:
        images = args.root / args.images
        alone = len(args.ann_file) == 1
        splits = [
            checks.Split('custom' if alone else str(file), args.root / file, images)
            for file in args.ann_file
        ]
    else:
        splits = checks.find_splits(args.root, custom, args.splits)
    print(f'data set  {args.root}')
    if not splits:
        print('nothing of the official layout is there, such as WIDER_train/images')
        return checks.LAYOUT
    reading = formats.Reading(args.classes, args.corners, args.boxes_are)
    reports = [checks.read_split(split, reading) for split in splits]
    paths = [
        report.image_path(record)
        for report in reports
        if report.split.images.is_dir()
        for record in report.records
    ]
    tqdm.monitor_interval = 0  # no thread of its own: processes are forked
    interval = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=len(paths), unit='image', mininterval=interval) as bar:
        facts = scan_images(paths, args.workers, bar.update)
    checks.check_splits(reports, facts)
    print_table(reports)
    print_findings(reports, args.list)
    faults = {status for report in reports for status in report.statuses()} - {0}
    status = min(faults, default=0)
    if status:
        print(f'\nNOT as it should be (exit status {status})')
    else:
        print('\nsound' if custom else '\nwhole, and as official')
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summarize(args.root, reports, status), indent=1)
        args.json.write_text(f'{text}\n', encoding='utf-8')
        print(f'wrote {args.json}')
    if args.sheet:
        draw_examples(reports, args.sheet)
    if args.fix and not reports[0].findings['layout']:
        write_fixed(args.fix, checks.without_faults(reports[0], facts), args.classes)
    return status


def draw_examples(reports: Sequence[checks.SplitReport], path: Path) -> None:
    """Draw boxes of each kind of finding, a row for each kind."""
    rows = []
    for report in reports:
        for name, examples in report.examples.items():
            tiles = [draw_box(*example) for example in examples]
            tiles = [tile for tile in tiles if tile is not None]
            if tiles:
                tiles += [np.full_like(tiles[0], 255)] * (
                    checks.MOST_EXAMPLES - len(tiles)
                )
                row = np.pad(np.hstack(tiles), [(16, 0), (0, 0), (0, 0)])
                title = f'{report.split.name}: {checks.KINDS[name].title}'
                font = cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(row, title, (4, 12), font, 0.4, (255, 255, 255), 1)
                rows.append(row)
    if not rows:
        print('nothing to draw')
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', np.vstack(rows))[1].tobytes())
    print(f'wrote {path}')


def draw_box(path: str, box: Sequence[float], side: int = 160) -> np.ndarray | None:
    """Draw a box x1 y1 x2 y2 on its image, in a square of ``side`` pixels."""
    try:
        image = read_image(path)
    except (OSError, ImageError):  # a finding of its own
        return None
    scale = side / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = image[:side, :side]
    image = np.pad(image, [*((0, side - n) for n in image.shape[:2]), (0, 0)])
    # Far outside, OpenCV's 32 bits would overflow.
    x1, y1, x2, y2 = np.clip(np.multiply(box, scale), -side, 2 * side).astype(int)
    cv2.rectangle(image, (int(x1), int(y1)), (int(x2), int(y2)), (0, 0, 255), 1)
    return image


def write_fixed(
    path: Path, images: Sequence[formats.LabelledImage], classes: Sequence[str]
) -> None:
    """Write an annotation of what is left."""
    labels = {face.label for image in images for face in image.faces}
    classes = [name for name in classes if name in labels] or sorted(labels)
    print(f'wrote {path}: {formats.write_annotation(path, images, classes)}')


def print_table(reports: Sequence[checks.SplitReport]) -> None:
    """Print the numbers, and how many findings there are of each kind."""
    rows = []
    for name in dict.fromkeys(name for r in reports for name in r.numbers):
        numbers = [r.numbers.get(name) for r in reports]
        rows.append([name, *('-' if n is None else f'{n:,}' for n in numbers)])
    for name in dict.fromkeys(name for r in reports for name in r.ranges):
        ranges = [' '.join(f'{n:g}' for n in r.ranges.get(name, ())) for r in reports]
        rows.append([f'{name}: min, median, max', *(text or '-' for text in ranges)])
    for name, kind in sorted(checks.KINDS.items(), key=lambda item: not item[1].status):
        counts = [len(report.findings[name]) for report in reports]
        if any(counts) or kind.status:
            rows.append([kind.title, *(f'{count:,}' for count in counts)])
    names = ['', *(report.split.name for report in reports)]
    print(tabulate(rows, names, 'outline', disable_numparse=True))
    used: list[str] = []  # in the order of COCO's categories
    for report in reports:
        if report.labels:
            counts = ', '.join(f'{name!r} {n}' for name, n in report.labels.items())
            print(f'labels of {report.split.name}: {counts}')
        if report.format == 'coco':
            used += [name for name, n in report.labels.items() if n]
    if used:
        classes = tuple(dict.fromkeys(used))
        print(f'in the config, to train on all of them: classes = {classes}')


def print_findings(reports: Sequence[checks.SplitReport], count: int) -> None:
    """Print the first ``count`` findings of each kind, the gravest first."""
    for name, kind in checks.KINDS.items():
        for report in reports:
            found = report.findings[name]
            if found and count > 0:
                print(f'\n{report.split.name}: {kind.title}')
                for line in found[:count]:
                    print(f'  {line}')
                if len(found) > count:
                    print(f'  and {len(found) - count:,} more')


def summarize(root: Path, reports: Sequence[checks.SplitReport], status: int) -> dict:
    """Collect everything that is stored, as plain data for JSON."""
    return dict(
        root=str(root),
        status=status,
        splits={
            report.split.name: dict(
                annotation=str(report.split.annotation),
                images=str(report.split.images),
                compared_with_official=report.split.num_images is not None,
                numbers=report.numbers,
                ranges=report.ranges,
                labels=report.labels,
                findings=report.findings,
            )
            for report in reports
        },
    )


if __name__ == '__main__':
    sys.exit(main())
