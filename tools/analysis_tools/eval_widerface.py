"""Evaluate a folder of WIDER FACE result files of any detector, officially.

An image without a file has no detections, as in the official tool; figures are then
NOT COMPARABLE with published ones (a file with the count 0 says that there are none).
It needs NumPy, SciPy, h5py and, for --plot, matplotlib; neither PyTorch nor mmdet.
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.evaluation import (
    protocols,
    wider_face_analysis,
    wider_face_columns,
    wider_face_curves,
    wider_face_eval,
    wider_face_ground_truth,
    wider_face_results,
)
from mmdet_srn.evaluation.json_data import plain


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line (None: the process's own)."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        'pred_dir',
        metavar='PRED_DIR',
        help='folder with <event>/<image>.txt: name, count, rows "x y w h score"',
    )
    add(
        '--gt-dir',
        required=True,
        metavar='DIR',
        help='folder with wider_{easy,medium,hard}_val.mat, which is '
        'eval_tools/ground_truth of the official evaluation kit',
    )
    add(
        '--only-present',
        action='store_true',
        help='evaluate the images that have a file, and their faces, only',
    )
    add('--json', type=Path, metavar='F', help='write figures and curves here')
    add('--plot', type=Path, metavar='F', help='draw the curves here (png, pdf ..)')
    add(
        '--compare',
        metavar='DIR',
        help='published curves to set beside: '
        '<name>/wider_pr_info_<name>_{easy,medium,hard}_val.mat',
    )
    add('--name', help="the detector's name (default: PRED_DIR's)")
    add(
        '--protocol',
        default=protocols.UNKNOWN_PROTOCOL,
        help='how the images were scaled, printed and stored with the figures: '
        f'{", ".join(protocols.PROTOCOLS)}, or any other name (default: %(default)s)',
    )
    add(
        '--analysis',
        action='store_true',
        help='false positives at recall, AP by IoU, face height and attribute too '
        '(not official)',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print and write; return the exit status."""
    args = parse_args(argv)
    try:
        evaluate(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'eval_widerface: {error}', file=sys.stderr)
        return 1
    return 0


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate, print and write; raise OSError, ValueError or ImportError."""
    ground_truth = wider_face_ground_truth.read_ground_truth(args.gt_dir)
    published = (
        wider_face_curves.read_published_curves(args.compare) if args.compare else {}
    )
    if args.only_present:
        present = {
            path.relative_to(args.pred_dir).with_suffix('').as_posix()
            for path in Path(args.pred_dir).rglob('*.txt')
        }
        # Without any, all are looked for, and the error below says so.
        names = present.intersection(ground_truth.names) or ground_truth.names
        ground_truth = ground_truth.restrict(names)
    detections, report = wider_face_results.read_results(
        args.pred_dir, ground_truth.names
    )
    check_usable(args, report, ground_truth)
    results = wider_face_eval.evaluate_wider_face(detections, ground_truth)
    columns = wider_face_columns.guess_columns(detections, ground_truth, results)
    if columns:
        raise ValueError(
            f'the columns in {args.pred_dir} seem to be {columns}: almost nothing is '
            'found when they are read as required, x y w h score in pixels'
        )
    name = args.name or Path(args.pred_dir).resolve().name
    print_report(args, name, report)
    print_results(name, results, published)
    stored = summarize(args, name, report, results, published)
    if args.analysis:
        analysis = wider_face_analysis.analyze_wider_face(detections, ground_truth)
        print_analysis(analysis)
        stored['analysis_not_official'] = plain(analysis)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(stored, indent=1, allow_nan=False)
        args.json.write_text(f'{text}\n', encoding='utf-8')
        print(f'wrote {args.json}')
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        title = f'WIDER FACE val, {name}: protocol {args.protocol}'
        title += f' ({note})' if (note := stored['note']) else ''
        figure = wider_face_curves.plot_curves(name, results, published, title)
        figure.savefig(args.plot, dpi=150)
        print(f'wrote {args.plot}')


def check_usable(args: argparse.Namespace, report: Any, ground_truth: Any) -> None:
    """Raise a ValueError if no file can be used, as an AP of 0 would mislead."""
    kinds = ('missing', 'malformed', 'short', 'empty')
    odd = {kind: report.odd[kind] for kind in kinds if report.odd[kind]}
    if sum(map(len, odd.values())) < report.num_images:
        return
    if 'missing' in odd and len(odd) == 1:
        files = sorted(Path(args.pred_dir).rglob('*.txt'))[:3]
        there = ', '.join(str(file.relative_to(args.pred_dir)) for file in files)
        raise ValueError(
            f'there is no result file at all in {args.pred_dir}, such as '
            f'{ground_truth.names[0]}.txt; it has {there or "no .txt files"}'
        )
    counts = ', '.join(f'{len(found)} {kind}' for kind, found in odd.items())
    first = next(found[0] for kind, found in odd.items() if kind != 'missing')
    raise ValueError(
        f'none of the result files in {args.pred_dir} can be used: {counts}, such as '
        f'{first}. A file has a line with the name, a line with the count, and rows '
        '"x y w h score" in pixels'
    )


def part_note(report: Any) -> str:
    """Say that figures are not comparable; empty for the whole official evaluation."""
    whole = wider_face_ground_truth.NUM_VAL_IMAGES
    lacking = sum(len(report.odd[kind]) for kind in ('missing', 'malformed', 'short'))
    usable = report.num_images - lacking
    return f'only {usable} of {whole} val images, NOT COMPARABLE' * (usable < whole)


def print_report(args: argparse.Namespace, name: str, report: Any) -> None:
    """Print what was evaluated and what was odd about it."""
    describe = protocols.describe_protocol
    print('WIDER FACE val, the official evaluation')
    if note := part_note(report):
        print(f'WARNING     {note} with any published figure')
    print(f'detector    {name}')
    print(f'protocol    {describe(args.protocol)}')
    print(f'detections  {report.num_rows} on {report.num_images} images')
    print(f'from        {args.pred_dir}')
    odd = {kind: found for kind, found in report.odd.items() if found}
    if not odd:
        print('odd files   none')
    for kind, found in odd.items():
        title = 'WARNING' if kind in wider_face_results.ODD_VALUES else 'odd files'
        what = wider_face_results.ODDITIES[kind]
        print(f'{title:12}{len(found)} {kind} ({what}), such as')
        for message in found[:3]:
            print(f'            {message}')
    if not report.num_rows:
        print('WARNING     no file has a detection')


def print_results(name: str, results: dict, published: dict) -> None:
    """Print the table of APs."""
    truncate = wider_face_curves.truncate
    width = max(map(len, [name, 'truncated', *published]))
    subsets = list(results)
    print(f'\n{"AP":{width}}  ' + '  '.join(f'{subset:>6}' for subset in subsets))
    aps = {name: [results[subset].ap for subset in subsets]}
    print(f'{name:{width}}  ' + '  '.join(f'{ap:6.4f}' for ap in aps[name]))
    short = '  '.join(f'{truncate(ap):>6}' for ap in aps[name])
    print(f'{"truncated":{width}}  {short}   (as published figures are)')
    faces = '  '.join(f'{results[subset].num_faces:6}' for subset in subsets)
    print(f'{"faces":{width}}  {faces}')
    if published:
        print('\npublished, by AP on hard')
        rows = {n: [c[subset].ap for subset in subsets] for n, c in published.items()}
        for other, values in sorted(rows.items(), key=lambda row: -row[1][-1]):
            print(f'{other:{width}}  ' + '  '.join(f'{ap:6.4f}' for ap in values))


def print_analysis(analysis: Any) -> None:
    """Print the figures that are not official."""
    print('\nNot official (ours, from the same matching)')
    print('false positives at recall')
    for subset, counts in analysis.false_positives.items():
        cells = (
            f'{100 * recall:g}%: {"not reached" if count is None else count}'
            for recall, count in counts.items()
        )
        print(f'  {subset:8}' + '  '.join(cells))
    print('AP by IoU (real-valued; the official IoU is rounded to 0 or 1)')
    for subset, aps in analysis.ap_by_iou.items():
        cells = [f'{threshold:.2f}: {ap:.4f}' for threshold, ap in aps.items()]
        cells.append(f'mean .50:.05:.95: {analysis.ap_mean_iou[subset]:.4f}')
        print(f'  {subset:8}' + '  '.join(cells))
    print(f'AP by face height in pixels (faces of {analysis.base})')
    _print_groups('height', analysis.ap_by_height)
    print(f'AP by attribute (faces of {analysis.base})')
    for attribute, groups in analysis.ap_by_attribute.items():
        _print_groups(attribute, groups)


def _print_groups(title: str, groups: dict) -> None:
    cells = (
        f'{value}: {"-" if math.isnan(group.ap) else f"{group.ap:.4f}"} '
        f'({group.num_faces} faces)'
        for value, group in groups.items()
    )
    print(f'  {title:13}' + '  '.join(cells))


def summarize(
    args: argparse.Namespace, name: str, report: Any, results: dict, published: dict
) -> dict[str, Any]:
    """Collect everything that is stored, as plain data for JSON; NaN as None."""
    return dict(
        evaluation='WIDER FACE val, official',
        detector=name,
        protocol=args.protocol,
        note=part_note(report),
        pred_dir=args.pred_dir,
        gt_dir=args.gt_dir,
        num_images=report.num_images,
        num_detections=report.num_rows,
        odd_files={kind: found for kind, found in report.odd.items() if found},
        results=plain(results),
        published={
            other: {subset: plain(curve.ap) for subset, curve in panels.items()}
            for other, panels in published.items()
        },
    )


if __name__ == '__main__':
    sys.exit(main())
