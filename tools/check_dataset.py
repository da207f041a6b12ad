"""Checks WIDER FACE, or any data set in its layout or in COCO's JSON, before training.

Every image is decoded in full, in several processes; counts are compared with the
official ones; boxes are compared with their image. What is known of an image is kept
in a cache file, by path, size and time of change: an interrupted check goes on where
it was, and a second one takes seconds.

exit status, the lowest of those that hold:
  0  whole, and as official; with --custom: sound
  1  the check itself failed
  2  wrong usage
  3  an annotation or a folder is missing, or an annotation is malformed
  4  images are missing or cannot be decoded in full
  5  counts other than the official ones
  6  boxes wholly outside their image, images of another size than COCO's JSON says,
     or no face to find at all
  130  interrupted; run it again to go on
(mim run makes a 1 of each but 0.)
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terminaltables import AsciiTable
from tqdm import tqdm

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[1]))  # a clone, not installed

from mmdet_srn.datasets import dataset_check, image_cache, image_scan


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Args:
        argv: The arguments; None for the process's own.

    Returns:
        What they say.
    """
    check = dataset_check
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'root',
        metavar='ROOT',
        type=Path,
        help="the data set's folder, with WIDER_train/images and so on",
    )
    parser.add_argument(
        '--custom',
        action='store_true',
        help='a data set of your own, or a part of WIDER FACE, in the same layout: '
        'any number of images and boxes will do, and one split',
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=check.OFFICIAL,
        default=[],
        help='what to check (default: train, val, and test if its images are there; '
        'with --custom what is there)',
    )
    parser.add_argument(
        '--ann-file',
        metavar='FILE',
        type=Path,
        help="check this annotation, text or COCO's JSON (.json), as a custom data "
        'set; below ROOT, or absolute',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        default=['face'],
        help="categories of COCO's JSON that training reads (default: face)",
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        type=Path,
        help="the folder of --ann-file's images; below ROOT, or absolute",
    )
    parser.add_argument(
        '--workers',
        metavar='N',
        type=_positive,
        default=_cores(),
        help='processes that decode (default: one a CPU core, %(default)s here)',
    )
    parser.add_argument(
        '--cache',
        metavar='FILE',
        type=Path,
        help='where to keep what is known of the images (default: a file for ROOT in '
        '$XDG_CACHE_HOME/mmdet_srn or ~/.cache/mmdet_srn)',
    )
    parser.add_argument(
        '--no-cache', action='store_true', help='decode everything, keep nothing'
    )
    parser.add_argument('--json', metavar='FILE', help='write all findings here')
    parser.add_argument(
        '--list',
        metavar='N',
        type=int,
        default=3,
        help='how many to name of each sort of finding (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if (args.ann_file is None) != (args.images is None):
        parser.error('--ann-file and --images need each other')
    if args.ann_file is not None and args.splits:
        parser.error('--splits are of the official layout, --ann-file is not')
    return args


def _cores() -> int:
    # Only Linux tells the cores that this process may use.
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number


def main(argv: list[str] | None = None) -> int:
    """Checks, prints and writes.

    Args:
        argv: The arguments; None for the process's own.

    Returns:
        Exit status.
    """
    args = parse_args(argv)
    try:
        return check_dataset(args)
    except (OSError, RuntimeError, ImportError) as error:
        print(f'check_dataset: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('check_dataset: interrupted; run it again to go on', file=sys.stderr)
        return 130


def check_dataset(args: argparse.Namespace) -> int:
    """Checks, prints and writes.

    Args:
        args: The command line.

    Returns:
        Exit status.

    Raises:
        OSError: If something cannot be written.
        RuntimeError: If a process dies.
        KeyboardInterrupt: On Ctrl-C.
    """
    check = dataset_check
    custom = args.custom or args.ann_file is not None
    if args.ann_file is not None:
        annotation, images = args.root / args.ann_file, args.root / args.images
        splits = [check.Split('custom', annotation, images)]
    else:
        splits = check.find_splits(args.root, custom, args.splits)
    print(f'data set  {args.root}')
    if not splits:
        print('nothing of the official layout is there, such as WIDER_train/images')
        return check.LAYOUT
    reports = [check.read_split(split, args.classes) for split in splits]
    facts = scan(args, reports)
    for report in reports:
        check.check_split(report, facts)
    check.find_same_files(reports, facts)
    print_table(reports, check.KINDS)
    print_findings(reports, check.KINDS, args.list)
    faults = {status for report in reports for status in report.statuses()} - {0}
    status = min(faults, default=0)
    if status:
        print(f'\nNOT as it should be (exit status {status})')
    else:
        print('\nsound' if custom else '\nwhole, and as official')
    if args.json:
        path = Path(args.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summarize(args, reports, status), indent=1)
        path.write_text(f'{text}\n', encoding='utf-8')
        print(f'wrote {path}')
    return status


def scan(args: argparse.Namespace, reports: Sequence[Any]) -> dict[str, Any]:
    """Decodes all images that the cache does not know.

    Args:
        args: The command line.
        reports: The splits' reports.

    Returns:
        Path -> what the image is.
    """
    paths = [
        report.image_path(record)
        for report in reports
        if report.split.images.is_dir()
        for record in report.records
    ]
    cache = open_cache(args)
    tqdm.monitor_interval = 0  # no thread of its own: processes are forked
    interval = 0.5 if sys.stderr.isatty() else 30
    try:
        with tqdm(total=len(paths), unit='image', mininterval=interval) as bar:
            return image_scan.scan_images(paths, cache, args.workers, bar.update)
    finally:
        cache.close()


def open_cache(args: argparse.Namespace) -> Any:
    """Reads the cache, and says where it is.

    Args:
        args: The command line.

    Returns:
        The cache; one that keeps nothing if it cannot be written.
    """
    cache_type = image_cache.ImageCache
    if args.no_cache:
        return cache_type()
    path = args.cache or default_cache(args.root)
    cache = cache_type(path)
    print(f'cache     {path} ({len(cache)} images known)')
    if cache.damaged:
        print(f'          {cache.damaged} of its lines cannot be read and are left out')
    try:
        cache.open()
    except OSError as error:
        print(f'          cannot be written ({error.strerror}): nothing will be kept')
    return cache


def default_cache(root: Path) -> Path:
    """Where the cache of a data set is if nothing else is asked for.

    The data set's own folder may be shared or read-only.

    Args:
        root: The data set's folder.

    Returns:
        The file.
    """
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    root = root.resolve()
    digest = hashlib.blake2b(os.fsencode(root), digest_size=4).hexdigest()
    return Path(home) / 'mmdet_srn' / f'check_dataset-{root.name}-{digest}.jsonl'


def print_table(reports: Sequence[Any], kinds: dict) -> None:
    """Prints numbers and how many findings there are.

    Args:
        reports: The splits' reports.
        kinds: The sorts of findings.
    """
    rows = [['', *(report.split.name for report in reports)]]
    for name in dict.fromkeys(name for r in reports for name in r.numbers):
        rows.append([name, *(_number(r.numbers.get(name)) for r in reports)])
    for name in dict.fromkeys(name for r in reports for name in r.ranges):
        title = f'{name}: least, median, greatest'
        cells = (r.ranges.get(name) for r in reports)
        rows.append([title, *('-' if c is None else _numbers(c) for c in cells)])
    faults = [name for name, kind in kinds.items() if kind.status]
    for name in (*faults, *(name for name in kinds if name not in faults)):
        counts = [len(report.findings[name]) for report in reports]
        if any(counts) or name in faults:
            rows.append([kinds[name].title, *map(_number, counts)])
    print(AsciiTable(rows).table)


def _number(value: int | None) -> str:
    return '-' if value is None else f'{value:,}'


def _numbers(values: Sequence[float]) -> str:
    return ' '.join(f'{value:g}' for value in values)


def print_findings(reports: Sequence[Any], kinds: dict, count: int) -> None:
    """Names the first findings of each sort, the faults first.

    Args:
        reports: The splits' reports.
        kinds: The sorts of findings.
        count: How many.
    """
    for name, kind in kinds.items():
        for report in reports:
            found = report.findings[name]
            if found and count > 0:
                print(f'\n{report.split.name}: {kind.title}')
                for line in found[:count]:
                    print(f'  {line}')
                if len(found) > count:
                    print(f'  and {len(found) - count:,} more')


def summarize(
    args: argparse.Namespace, reports: Sequence[Any], status: int
) -> dict[str, Any]:
    """Everything that is stored.

    Args:
        args: The command line.
        reports: The splits' reports.
        status: The exit status.

    Returns:
        Plain data for JSON.
    """
    return dict(
        root=str(args.root),
        status=status,
        splits={
            report.split.name: dict(
                annotation=str(report.split.annotation),
                images=str(report.split.images),
                compared_with_official=report.split.official is not None,
                numbers=report.numbers,
                ranges=report.ranges,
                findings=report.findings,
            )
            for report in reports
        },
    )


if __name__ == '__main__':
    sys.exit(main())
