"""Compare the speed of SRN, end to end and part by part, with the released code's.

    python tools/analysis_tools/benchmark.py configs/srn_r50_fpn_widerface.py
    python benchmark.py CONFIG --checkpoint FILE --images FOLDER --batch-sizes 1 4
    python benchmark.py CONFIG CONFIG ... --sizes 640x480 --share 1 --runs 0

For each config, parameters and a table with one row per way of detection:

    released   both subnets of both steps on all 12 maps, as the authors' code does
    dense      each step where a level uses it, on whole maps
    auto       the second step where the first leaves something (the default)
    sparse     the same even where dense would be faster

Append +bf16, +fp16, +contiguous, +channels_last (memory format of images and weights),
+folded, +unfolded (the backbone's batch norms), +compiled, or +unasked (a QuerySRNHead
without its queries), as in auto+bf16+contiguous. By default 'released' is contiguous
and unfolded; the others are as in ``FaceDetector``: folded, with weights channels last
where the config lays out images so (the configs here: on a CPU).

Without a checkpoint the weights are random, and all or nothing survives the first step:
--share sets what percentage of the cells of the levels with two-step classification
survives, in clusters like those of faces. The first step is computed nevertheless, only
its result is replaced. 'released' and 'dense' compute the same whatever survives, and
run at the first share only.

Runs are interleaved, so that other load affects all ways. Times are medians of wall
clock; the columns are

    input      reading and decoding the file, resizing, normalising
    select     thresholds, selection, decoding of boxes, NMS
               (input to select are profiled in calls of their own; on a GPU, backbone
               to select are the time of its kernels)
    total      all of it, with the fastest and the slowest call
    faster     than the first row
    GFLOP      two per multiply-add of convolutions and matrix products, counted while
               they run
    MB         peak memory of a second call, beyond what was held before (CPU: of the
               process, Linux only)
    same       detections with a partner among those of 'dense' (unfolded), within
               1e-3 px and 1e-5 of score; where some have none, in brackets the number
               within 1 px and .01

Exit status: 0, 1 after an error, 2 for wrong arguments.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.models import SingleStageDetector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from tabulate import tabulate

from mmdet_srn.benchmark.arguments import (
    add_common_options,
    percent,
    read_size,
    run_benchmark,
    whole,
)
from mmdet_srn.benchmark.machine import describe_machine
from mmdet_srn.benchmark.measuring import PARTS, Measured, Variant, measure
from mmdet_srn.benchmark.synthetic_images import write_image
from mmdet_srn.benchmark.untrained import build_untrained
from mmdet_srn.benchmark.variants import CHANGES, FORMATS, MODES, NORMS, change_detector
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import check_device, load_detector, read_config
from mmdet_srn.models.cpu.weight_layout import images_are_channels_last
from mmdet_srn.models.dense_heads import SRNHead
from mmdet_srn.trust import add_trust_option

EXACT, NEAR = (1e-3, 1e-5), (1.0, 0.01)  # pixels, score


def way_name(text: str) -> tuple[str, tuple[str, ...]]:
    """Read a way of detection, such as 'auto+bf16': its mode and changes."""
    mode, *changes = text.split('+')
    for name, known in ((mode, MODES), *((change, CHANGES) for change in changes)):
        if name not in known:
            raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(known)}')
    return mode, tuple(changes)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG')
    add('--checkpoint', help='weights of the one CONFIG (default: random)')
    ways = [(mode, ()) for mode in ('released', 'dense', 'auto')]
    text = 'rows, see above (default: released dense auto)'
    add('--ways', nargs='+', type=way_name, default=ways, metavar='WAY', help=text)
    text = 'surviving cells (default: 0.5 1 3 10 30; with a checkpoint: its own)'
    add('--share', nargs='+', type=percent, metavar='PERCENT', help=text)
    text = 'photographs in it and in folders below it (default: synthetic ones)'
    add('--images', type=Path, metavar='FOLDER', help=text)
    text = 'photographs to take, evenly spread (default: %(default)s)'
    add('--max-images', type=whole(1), default=8, help=text)
    text = (
        'resize photographs to (default: 640x480 1024x1024; with --images as in the '
        "config's test)"
    )
    add('--sizes', nargs='+', type=read_size, metavar='WxH', help=text)
    add('--batch-sizes', nargs='+', type=whole(1), default=[1])
    add_common_options(parser, least_runs=0)
    text = "least score of detections compared in 'same' (default: %(default)s)"
    add('--score-thr', type=float, default=0.0, help=text)
    add('--no-same', action='store_true', help="leave out 'same'")
    add('--markdown', action='store_true', help='print markdown')
    add_trust_option(parser)
    args = parser.parse_args(argv)
    if args.checkpoint and len(args.configs) > 1:
        parser.error('--checkpoint is for one CONFIG')
    if args.share is None and not args.checkpoint:
        args.share = [0.5, 1, 3, 10, 30]
    if args.sizes is None and not args.images:
        args.sizes = [(640, 480), (1024, 1024)]
    return args


def build(
    config: str, checkpoint: str | None, device: str
) -> tuple[Config, SingleStageDetector]:
    """Build a config's detector in evaluation mode, without checkpoint a random one.

    Raises:
        OSError: If a file is missing.
        ValueError: If it is no config of SRN, or the checkpoint does not fit.
    """
    if checkpoint:
        cfg, detector, _ = load_detector(config, checkpoint)
    else:
        cfg = read_config(config)
        detector = build_untrained(cfg)
    if not isinstance(getattr(detector, 'bbox_head', None), SRNHead):
        raise ValueError(f'the model of {config} has no SRNHead')
    return cfg, detector.to(device)


def find_images(folder: Path, number: int) -> list[Path]:
    """Find at most ``number`` images below a folder, evenly spread over all of them."""
    found = sorted(
        path for path in folder.rglob('*') if path.suffix.lower() in IMG_EXTENSIONS
    )
    if not found:
        raise FileNotFoundError(f'no images in {folder}')
    chosen = np.linspace(0, len(found) - 1, min(number, len(found)))
    return [found[int(index)] for index in chosen]


def make_pipeline(cfg: Config, size: tuple[int, int] | None) -> Compose:
    """Build the config's test pipeline without annotations.

    Args:
        cfg: The config.
        size: Width and height to resize images to; None: as in the config.
    """
    steps = []
    for step in get_test_pipeline_cfg(cfg):
        if size is not None and step['type'] == 'Resize':
            step = dict(type='Resize', scale=size, keep_ratio=False)
        if step['type'] != 'LoadAnnotations':
            steps.append(step)
    return Compose(steps)


def make_variants(
    args: argparse.Namespace, detector: SingleStageDetector, pipeline: Compose
) -> list[tuple[str, Variant]]:
    """Make the variant of each row, with its name.

    Raises:
        ValueError: If changes exclude each other, or the device does not have one.
    """
    made: dict[tuple[str, ...], tuple] = {}
    variants = []
    for mode, changes in args.ways:
        name = '+'.join((mode, *changes))
        released = mode == 'released'
        if not set(changes) & set(FORMATS):
            if released:
                changes = (*changes, 'contiguous')
            elif images_are_channels_last(detector):
                changes = (*changes, 'channels_last')
        if not set(changes) & set(NORMS):
            changes = (*changes, 'unfolded' if released else 'folded')
        if changes not in made:
            made[changes] = change_detector(detector, changes)
        changed, context = made[changes]
        shares = args.share or [None]
        for share in shares if mode in ('auto', 'sparse') else shares[:1]:
            variant = Variant(changed, pipeline, mode, share, context)
            variant.countable = 'compiled' not in changes
            variants.append((name, variant))
    return variants


def rows_of(
    args: argparse.Namespace,
    cfg: Config,
    detector: SingleStageDetector,
    images: Sequence[Path],
    size: tuple[int, int] | None,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Measure all ways at one size (width, height) and batch size; yield table rows."""
    pipeline = make_pipeline(cfg, size)
    named = make_variants(args, detector, pipeline)
    starts = range(0, len(images), batch_size)
    batches = [images[start : start + batch_size] for start in starts]
    results = measure([variant for _, variant in named], batches, args.runs)
    references: dict[float | None, Measured] = {}
    for (name, variant), result in zip(named, results, strict=True):
        cells, left = variant.count['cells'], variant.count['left']
        row: dict[str, Any] = dict(
            size='' if size is None else f'{size[0]}x{size[1]}',
            batch=batch_size,
            way=name,
            surviving_percent=100 * left / cells if cells else None,
        )
        if args.runs:
            row['ms'] = {part: 1e3 * result.part(part) for part in PARTS}
            row['ms']['total'] = 1e3 * result.median
            row['ms']['fastest'] = 1e3 * min(result.seconds)
            row['ms']['slowest'] = 1e3 * max(result.seconds)
            row['faster'] = results[0].median / result.median
        row['gflop'] = {part: flops / 1e9 for part, flops in result.flops.items()}
        row['gflop_total'] = sum(result.flops.values()) / 1e9 if result.flops else None
        row['megabytes'] = None if result.memory is None else result.memory / 1e6
        if not args.no_same:
            share = variant.percent
            if share not in references:
                plain = Variant(detector, pipeline, 'dense', share, countable=False)
                [references[share]] = measure([plain], batches, 0)
            row |= compare(result, references[share], args.score_thr)
        yield row


def compare(found: Measured, wanted: Measured, score_thr: float) -> dict[str, Any]:
    """Compare detections of good scores on the same images."""
    exact, near = [], []
    for pair in zip(found.found, wanted.found, strict=True):
        good = [(boxes[s >= score_thr], s[s >= score_thr]) for boxes, s in pair]
        exact.append(compare_detections(*good, *EXACT))
        near.append(compare_detections(*good, *NEAR))
    return dict(
        detections=sum(each.numbers[0] for each in near),
        detections_dense=sum(each.numbers[1] for each in near),
        pairs_exact=sum(each.pairs for each in exact),
        pairs_near=sum(each.pairs for each in near),
        near_box_difference=max(each.box_diff for each in near),
        near_score_difference=max(each.score_diff for each in near),
    )


def cells_of(row: dict[str, Any]) -> dict[str, str]:
    """Format a row's figures by column."""

    def text(value: float | None, digits: int) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    cells = dict(size=row['size'] or 'config', batch=str(row['batch']), way=row['way'])
    cells['left %'] = text(row['surviving_percent'], 1)
    if 'ms' in row:
        ms = row['ms']
        for part in PARTS:
            column = {'selection': 'select'}.get(part, part.removesuffix(' step'))
            cells[column] = text(ms[part], 0 if ms['total'] >= 1000 else 1)
        cells['total ms'] = '{total:.0f} ({fastest:.0f}-{slowest:.0f})'.format(**ms)
        cells['faster'] = f'{row["faster"]:.2f}'
    cells['GFLOP'] = text(row['gflop_total'], 1)
    cells['MB'] = text(row['megabytes'], 0)
    if 'detections' in row:
        most = max(row['detections'], row['detections_dense'])
        cells['same'] = f'{row["pairs_exact"]}/{most}'
        if row['pairs_exact'] < most:
            cells['same'] += f' ({row["pairs_near"]})'
    return cells


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print all; return the figures."""
    check_device(args.device)
    report: dict[str, Any] = dict(machine=describe_machine(args.device), configs={})
    print(report['machine'])
    print(f'medians of {args.runs} calls' if args.runs else 'nothing timed')
    for config in args.configs:
        cfg, detector = build(config, args.checkpoint, args.device)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        modules = dict(backbone=detector.backbone, neck=detector.neck)
        modules |= dict(head=detector.bbox_head, all=detector)
        parameters = {
            name: sum(p.numel() for p in module.parameters())
            for name, module in modules.items()
        }
        *parts, total = (f'{name} {n / 1e6:.2f}' for name, n in parameters.items())
        print(f'\n{Path(config).stem}: {total[4:]} M parameters ({", ".join(parts)})\n')
        rows: list[dict[str, Any]] = []
        for size, batch_size in product(args.sizes or [None], args.batch_sizes):
            with tempfile.TemporaryDirectory() as folder:
                if args.images:
                    images = find_images(args.images, args.max_images)
                else:
                    images = [Path(folder) / f'{n}.jpg' for n in range(batch_size)]
                    for seed, path in enumerate(images):
                        write_image(path, *size, seed=seed)
                rows += rows_of(args, cfg, detector, images, size, batch_size)
        table = [cells_of(row) for row in rows]
        align = ['left' if name in ('size', 'way') else 'right' for name in table[0]]
        form = 'pipe' if args.markdown else 'plain'
        print(tabulate(table, 'keys', form, disable_numparse=True, colalign=align))
        report['configs'][config] = dict(parameters=parameters, rows=rows)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    return run_benchmark('benchmark', run, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
