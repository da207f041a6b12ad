"""Times SRN end to end and part by part, beside what the released code computes.

    python tools/benchmark.py configs/srn_r50_fpn_widerface.py
    python tools/benchmark.py CONFIG --checkpoint FILE --images FOLDER --batch-sizes 1 4
    python tools/benchmark.py CONFIG CONFIG ... --sizes 640x480 --share 1 --runs 0

Per config: parameters, and a table of one row for each way of detection:

    released   both subnets of both steps on all 12 maps, as the authors' code does
    dense      each step where a level uses it, on whole maps
    auto       the second step where the first leaves something (the default)
    sparse     the same even where dense would be faster

with +bf16, +fp16, +contiguous, +channels_last (memory format of images and weights),
+folded, +unfolded (the backbone's batch norms), +compiled appended, such as
auto+bf16+contiguous. Unless told otherwise 'released' is contiguous and unfolded, the
others are as ``FaceDetector`` has them: folded, and weights channels last where the
config has images so (the configs here: on a CPU).

Without a checkpoint the weights are random and the first step leaves nothing, or all:
--share then says what percent of the cells of the levels with two-step classification
survive, in clusters as faces leave them. The first step is computed nevertheless, and
only its result replaced. 'released' and 'dense' compute the same whatever survives and
are run at the first share alone.

The ways take turns, so what else the machine does hits all. Times are medians of wall
clock; the columns are

    input      reading and decoding the file, resizing, normalising
    select     thresholds, selection, decoding of boxes, NMS
    total      all of it, with the fastest and the slowest call; on a GPU in calls of
               their own, as the parts' times make it wait
    faster     than the first row
    GFLOP      two for each multiply-add of convolutions and matrix products, counted
               while they run
    MB         most memory during a second call, beyond what was held before (CPU: of
               the process, Linux only)
    same       detections with a partner among those of 'dense' (unfolded),
               within 1e-3 px and 1e-5 of score; where some have none, in brackets
               those within 1 px and .01

Exit status: 0, 1 after an error, 2 for wrong arguments.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdet_srn.analysis.arguments import percent, read_size, whole
from mmdet_srn.analysis.detection_timing import Batch, Measured, Way, above, measure
from mmdet_srn.analysis.detector_parts import PARTS
from mmdet_srn.analysis.machine import describe_machine
from mmdet_srn.analysis.made_photographs import write_photograph
from mmdet_srn.analysis.step_modes import MODES
from mmdet_srn.analysis.variants import FORMATS, NORMS, VARIANTS, make_variant
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import check_device, load_detector
from mmdet_srn.models.cpu.weight_layout import images_are_channels_last
from mmdet_srn.models.dense_heads import SRNHead
from mmdet_srn.trust import add_trust_option

EXACT, NEAR = (1e-3, 1e-5), (1.0, 0.01)  # pixels, score
SEED = 0


def way_name(text: str) -> tuple[str, tuple[str, ...]]:
    """Read a way of detection.

    Args:
        text (str): Such as 'auto+bf16'.

    Returns:
        tuple[str, tuple[str, ...]]: The mode and the variants.
    """
    mode, *variants = text.split('+')
    if mode not in MODES:
        raise argparse.ArgumentTypeError(f'{mode!r} is none of {", ".join(MODES)}')
    for name in variants:
        if name not in VARIANTS:
            raise argparse.ArgumentTypeError(
                f'{name!r} is none of {", ".join(VARIANTS)}'
            )
    return mode, tuple(variants)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument(
        '--checkpoint', help='weights of the one CONFIG (default: random)'
    )
    parser.add_argument(
        '--ways',
        nargs='+',
        type=way_name,
        default=[('released', ()), ('dense', ()), ('auto', ())],
        metavar='WAY',
        help='rows, see above (default: released dense auto)',
    )
    parser.add_argument(
        '--share',
        nargs='+',
        type=percent,
        metavar='PERCENT',
        help='cells that survive the first step (default: 0.5 1 3 10 30; with a '
        'checkpoint: those that it leaves)',
    )
    parser.add_argument(
        '--images',
        type=Path,
        metavar='FOLDER',
        help='photographs, also in folders below it (default: made ones)',
    )
    parser.add_argument(
        '--max-images',
        type=whole(1),
        default=8,
        help='of the folder, evenly spread (default: %(default)s)',
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=read_size,
        metavar='WxH',
        help='photographs are brought to (default: 640x480 1024x1024; with --images '
        "as the config's test does)",
    )
    parser.add_argument('--batch-sizes', nargs='+', type=whole(1), default=[1])
    parser.add_argument(
        '--runs',
        type=whole(0),
        default=5,
        help='timed calls of each row on each batch; 0: no times, only what is counted '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--threads', type=whole(1), help="of torch (default: torch's own choice)"
    )
    parser.add_argument('--device', default='cpu', help='(default: %(default)s)')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.0,
        help="detections compared in the column 'same' (default: %(default)s)",
    )
    parser.add_argument('--no-same', action='store_true', help='leave that out')
    parser.add_argument('--markdown', action='store_true', help='print it as markdown')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures')
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
    """Build a config's detector.

    Args:
        config (str): The config's file.
        checkpoint (str, optional): Its weights; without, random ones.
        device (str): Such as 'cpu' or 'cuda:0'.

    Returns:
        tuple[Config, SingleStageDetector]: Both; the detector in evaluation mode.

    Raises:
        OSError: If a file is missing.
        ValueError: If it is no config of SRN, or the checkpoint does not fit.
    """
    if not Path(config).is_file():
        raise FileNotFoundError(f'no config {config}')
    if checkpoint:
        cfg, detector, _ = load_detector(config, checkpoint)
    else:
        cfg = Config.fromfile(config)
        if 'model' not in cfg:
            raise ValueError(f'{config} has no model')
        if 'backbone' in cfg.model:
            cfg.model.backbone.init_cfg = None  # random ones are as fast
        torch.manual_seed(SEED)
        detector = MODELS.build(
            dict(cfg.model, _scope_=cfg.get('default_scope', 'mmdet'))
        )
        detector.init_weights()
        detector.eval()
    if not isinstance(getattr(detector, 'bbox_head', None), SRNHead):
        raise ValueError(f'the model of {config} has no SRNHead')
    return cfg, detector.to(device)


def find_images(folder: Path, number: int) -> list[Path]:
    """Find a folder's images, at most ``number``, evenly spread over all.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted(
        path for path in folder.rglob('*') if path.suffix.lower() in IMG_EXTENSIONS
    )
    if not found:
        raise FileNotFoundError(f'no images in {folder}')
    chosen = np.linspace(0, len(found) - 1, min(number, len(found)))
    return [found[int(index)] for index in chosen]


def make_pipeline(cfg: Config, size: tuple[int, int] | None) -> Compose:
    """Build the config's test pipeline, without annotations.

    Args:
        cfg (Config): The config.
        size (tuple[int, int], optional): Width and height to bring images to,
            instead of what the config's Resize does.

    Returns:
        Compose: The pipeline.
    """
    steps = []
    for step in get_test_pipeline_cfg(cfg):
        if step['type'] == 'LoadAnnotations':
            continue
        if size is not None and step['type'] == 'Resize':
            step = dict(type='Resize', scale=size, keep_ratio=False)
        steps.append(step)
    return Compose(steps)


def count_parameters(detector: SingleStageDetector) -> dict[str, int]:
    """Count the parameters of all, backbone, neck and head."""
    parts = dict(all=detector, backbone=detector.backbone, neck=detector.neck)
    parts['head'] = detector.bbox_head
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()
    }


def make_ways(
    args: argparse.Namespace, detector: SingleStageDetector, pipeline: Compose
) -> list[tuple[str, Way]]:
    """Make the table's rows, named.

    Args:
        args (argparse.Namespace): The command line.
        detector (SingleStageDetector): Of the config.
        pipeline (Compose): For all rows.

    Returns:
        list[tuple[str, Way]]: Name and way of each.

    Raises:
        ValueError: If variants exclude each other or the device has not one.
    """
    made: dict[tuple[str, ...], tuple] = {}
    ways = []
    for mode, variants in args.ways:
        name = '+'.join((mode, *variants))
        released = mode == 'released'
        if not set(variants) & set(FORMATS):
            if released:
                variants = (*variants, 'contiguous')
            elif images_are_channels_last(detector):
                variants = (*variants, 'channels_last')
        if not set(variants) & set(NORMS):
            variants = (*variants, 'unfolded' if released else 'folded')
        if variants not in made:
            made[variants] = make_variant(detector, variants)
        shares = args.share or [None]
        for share in shares if mode in ('auto', 'sparse') else shares[:1]:
            changed, context = made[variants]
            way = Way(changed, pipeline, mode, share, context)
            way.countable = 'compiled' not in variants
            ways.append((name, way))
    return ways


def rows_of(
    args: argparse.Namespace,
    cfg: Config,
    detector: SingleStageDetector,
    images: Sequence[Path],
    size: tuple[int, int] | None,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Measure one size and batch size.

    Args:
        args (argparse.Namespace): The command line.
        cfg (Config): The config.
        detector (SingleStageDetector): Of it.
        images (Sequence[Path]): The photographs.
        size (tuple[int, int], optional): What they are brought to.
        batch_size (int): Images of each call; the last of a folder may have fewer.

    Yields:
        dict[str, Any]: One row of the table.
    """
    pipeline = make_pipeline(cfg, size)
    named = make_ways(args, detector, pipeline)
    batches: list[Batch] = [
        images[start : start + batch_size]
        for start in range(0, len(images), batch_size)
    ]
    results = measure([way for _, way in named], batches, args.runs)
    references: dict[float | None, Measured] = {}
    for (name, way), result in zip(named, results, strict=True):
        row: dict[str, Any] = dict(
            size='' if size is None else f'{size[0]}x{size[1]}',
            batch=batch_size,
            way=name,
            surviving_percent=result.percent,
        )
        if args.runs:
            row['ms'] = {part: 1e3 * result.part(part) for part in PARTS}
            row['ms']['total'] = 1e3 * result.median
            row['ms']['fastest'] = 1e3 * min(result.seconds)
            row['ms']['slowest'] = 1e3 * max(result.seconds)
            row['faster'] = results[0].median / result.median
        row['gflop'] = {part: flops / 1e9 for part, flops in result.flops.items()}
        row['gflop_total'] = (
            None if result.total_flops is None else result.total_flops / 1e9
        )
        row['megabytes'] = None if result.memory is None else result.memory / 1e6
        if not args.no_same:
            if way.percent not in references:
                plain = Way(detector, pipeline, 'dense', way.percent, countable=False)
                references[way.percent] = measure([plain], batches, 0)[0]
            row |= compare(result, references[way.percent], args.score_thr)
        yield row


def compare(found: Measured, wanted: Measured, score_thr: float) -> dict[str, Any]:
    """Compare the detections of two ways on the same images."""
    pairs = dict(exact=0, near=0)
    numbers = [0, 0]
    differences = [0.0, 0.0]
    for ours, theirs in zip(found.found, wanted.found, strict=True):
        ours, theirs = above(ours, score_thr), above(theirs, score_thr)
        pairs['exact'] += compare_detections(ours, theirs, *EXACT).pairs
        near = compare_detections(ours, theirs, *NEAR)
        pairs['near'] += near.pairs
        numbers = [a + b for a, b in zip(numbers, near.numbers, strict=True)]
        differences[0] = max(differences[0], near.box_diff)
        differences[1] = max(differences[1], near.score_diff)
    return dict(
        detections=numbers[0],
        detections_dense=numbers[1],
        pairs_exact=pairs['exact'],
        pairs_near=pairs['near'],
        near_box_difference=differences[0],
        near_score_difference=differences[1],
    )


def cells_of(row: dict[str, Any]) -> dict[str, str]:
    """Write a row's figures, by column."""

    def text(value: float | None, digits: int) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    cells = dict(size=row['size'] or 'config', batch=str(row['batch']), way=row['way'])
    cells['left %'] = text(row['surviving_percent'], 1)
    if 'ms' in row:
        ms = row['ms']
        for part in PARTS:
            column = {'selection': 'select'}.get(part, part.removesuffix(' step'))
            cells[column] = text(ms[part], 0 if ms['total'] >= 1000 else 1)
        cells['total ms'] = (
            f'{ms["total"]:.0f} ({ms["fastest"]:.0f}-{ms["slowest"]:.0f})'
        )
        cells['faster'] = f'{row["faster"]:.2f}'
    cells['GFLOP'] = text(row['gflop_total'], 1)
    cells['MB'] = text(row['megabytes'], 0)
    if 'detections' in row:
        most = max(row['detections'], row['detections_dense'])
        cells['same'] = f'{row["pairs_exact"]}/{most}'
        if row['pairs_exact'] < most:
            cells['same'] += f' ({row["pairs_near"]})'
    return cells


def print_table(rows: Sequence[dict[str, Any]], markdown: bool) -> None:
    """Print rows, all with the same columns."""
    table = [cells_of(row) for row in rows]
    names = list(table[0])
    widths = {
        name: max(len(name), *(len(row[name]) for row in table)) for name in names
    }
    left = {'size', 'way'}

    def line(cells: dict[str, str]) -> str:
        texts = [
            cells[n].ljust(widths[n]) if n in left else cells[n].rjust(widths[n])
            for n in names
        ]
        return '| ' + ' | '.join(texts) + ' |' if markdown else '  '.join(texts)

    print(line({name: name for name in names}))
    if markdown:
        rules = [
            '-' * widths[n] if n in left else '-' * (widths[n] - 1) + ':' for n in names
        ]
        print('| ' + ' | '.join(rules) + ' |')
    for row in table:
        print(line(row))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print all.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, Any]: All figures.

    Raises:
        OSError: If a file or folder is missing.
        ValueError: If something in the arguments does not fit; the message says what.
    """
    check_device(args.device)
    report: dict[str, Any] = dict(machine=describe_machine(args.device), configs={})
    print(report['machine'])
    print(f'medians of {args.runs} calls' if args.runs else 'nothing timed')
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for config in args.configs:
            cfg, detector = build(config, args.checkpoint, args.device)
            init_default_scope(cfg.get('default_scope', 'mmdet'))
            parameters = count_parameters(detector)
            millions = {name: f'{n / 1e6:.2f}' for name, n in parameters.items()}
            print(
                f'\n{Path(config).stem}: {millions.pop("all")} M parameters ('
                + ', '.join(f'{name} {n}' for name, n in millions.items())
                + ')\n',
                flush=True,
            )
            rows: list[dict[str, Any]] = []
            for size in args.sizes or [None]:
                for batch_size in args.batch_sizes:
                    if args.images:
                        images = find_images(args.images, args.max_images)
                    else:
                        images = [folder / f'{n}_{size}.jpg' for n in range(batch_size)]
                        for seed, path in enumerate(images):
                            write_photograph(path, *size, seed=seed)
                    rows += rows_of(args, cfg, detector, images, size, batch_size)
            print_table(rows, args.markdown)
            report['configs'][config] = dict(parameters=parameters, rows=rows)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        argv (Sequence[str], optional): Defaults to None, the process's own.

    Returns:
        int: Exit status.
    """
    args = parse_args(argv)
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        report = run(args)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + '\n')
    except (OSError, ValueError, ImportError) as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
