"""Compare our detectors with small published ones, on the same photographs.

    python tools/analysis_tools/compare_detectors.py --ann bbx_gt.txt --images FOLDER \
        --model SRN --model quickstart=CONFIG,CHECKPOINT \
        --yunet yunet_n_640_640.onnx --centerface centerface.onnx

Prints one table: AP at IoU 0.5 over all faces and by face height in pixels, and
milliseconds an image. Photographs have WIDER FACE's text annotation; for several sets
give --ann and --images again, in pairs. Faces that the annotation ignores count neither
way.

All detectors see the same pixels and keep faces of low score; boxes are clipped at the
image's edges. Ours run their config's test pipeline. OpenCV runs the other two: YuNet
with cv2.FaceDetectorYN, CenterFace with cv2.dnn.

Times are of detection on the CPU, from pixels to boxes, in photographs resized to
--size: medians over the photographs of the median of --runs calls, after one that warms
up. Detectors take turns, so that other load affects all alike. --plot draws AP against
the time with the most threads. --untrained NAME=CONFIG is timed alone, with random
weights of which the first step leaves 3 %.

Exit status: 0, 1 after an error, 2 for wrong arguments.
"""

import argparse
import os
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import mmdet_srn  # noqa: F401  before cv2, whose images it limits

# isort: split
import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger
from tabulate import tabulate
from tqdm import tqdm

from mmdet_srn import FaceDetector
from mmdet_srn.benchmark.arguments import read_size, whole
from mmdet_srn.benchmark.machine import describe_machine
from mmdet_srn.benchmark.measuring import time_interleaved
from mmdet_srn.benchmark.published import (
    CENTERFACE,
    YUNET,
    Detections,
    Detector,
    load_centerface,
    load_yunet,
)
from mmdet_srn.benchmark.speed_plot import draw_speed
from mmdet_srn.benchmark.untrained import UntrainedDetector
from mmdet_srn.datasets import WIDERFaceTxtDataset
from mmdet_srn.detector.images import limit_size, read_image, rescale_boxes
from mmdet_srn.evaluation import FaceAP, ImageFaces, evaluate_face_ap, read_instances
from mmdet_srn.model_loader import read_config
from mmdet_srn.trust import add_trust_option

SHARE = 3.0  # percent of the cells that are left where nothing is trained (ours)
APS = ('AP', '<16', '16-32', '32-96', '>=96')  # the columns, as in HEIGHT_BANDS


def model(text: str) -> tuple[str, list[str]]:
    """Read a model of ours: its name, and its files, none for the shipped weights."""
    name, given, rest = text.partition('=')
    files = rest.split(',') if given else []
    if not name or not all(files) or len(files) > 2:
        raise argparse.ArgumentTypeError(
            f'{text!r} is neither NAME=CONFIG,CHECKPOINT nor NAME=FILE.onnx nor NAME'
        )
    return name, files


def untrained(text: str) -> tuple[str, str]:
    """Read a model without weights: its name and its config."""
    name, _, config = text.partition('=')
    if not name or not config:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=CONFIG')
    return name, config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = partial(parser.add_argument, type=Path)
    text = "annotation in WIDER FACE's text layout; may be repeated"
    add('--ann', action='append', required=True, metavar='FILE', help=text)
    text = 'its images; as often as --ann'
    add('--images', action='append', required=True, metavar='DIR', help=text)
    text = (
        'ours: NAME=CONFIG,CHECKPOINT or NAME=FILE.onnx, or NAME alone for the shipped '
        'weights; may be repeated (default: SRN, the shipped weights)'
    )
    add('--model', action='append', type=model, dest='models', help=text)
    text = 'ours, timed with random weights: NAME=CONFIG; may be repeated'
    add('--untrained', action='append', type=untrained, default=[], help=text)
    add('--yunet', metavar='FILE', help=f'YuNet: {YUNET}')
    add('--centerface', metavar='FILE', help=f'CenterFace: {CENTERFACE}')
    text = 'shrink images whose longer side has more pixels (default: none)'
    add('--max-size', type=whole(1), metavar='PIXELS', help=text)
    text = 'time with so many threads each (default: 1 and 2); none: do not time'
    cpus = len(os.sched_getaffinity(0))
    usable = [n for n in (1, 2) if n <= cpus]
    add('--threads', nargs='*', type=whole(1), default=usable, help=text)
    text = 'of the images that are timed (default: 640x480)'
    add('--size', type=read_size, default=(640, 480), metavar='WxH', help=text)
    text = 'images to time, evenly spread over all (default: %(default)s)'
    add('--timed', type=whole(1), default=10, metavar='N', help=text)
    text = 'timed calls of a detector on an image (default: %(default)s)'
    add('--runs', type=whole(1), default=3, metavar='N', help=text)
    text = 'picture to write: AP against milliseconds'
    add('--plot', metavar='FILE.png', help=text)
    add_trust_option(parser)
    args = parser.parse_args(argv)
    args.models = args.models or [('SRN', [])]
    names = [name for name, _ in (*args.models, *args.untrained)]
    names += ['YuNet', 'CenterFace']
    if len(args.ann) != len(args.images):
        parser.error('--ann and --images come in pairs')
    if len(names) > len(set(names)):
        parser.error(f'each detector needs a name of its own: {", ".join(names)}')
    if max(args.threads, default=1) > cpus:
        parser.error(f'--threads {max(args.threads)}: this process may use {cpus} CPUs')
    if (args.plot or args.untrained) and not args.threads:
        parser.error('--plot and --untrained need --threads')
    return args


def load_detectors(args: argparse.Namespace) -> dict[str, Detector]:
    """Load all detectors of the command line, by name."""

    def detect(ours: FaceDetector, image: np.ndarray) -> Detections:
        found = ours.detect(image)
        return found.bboxes, found.scores

    detectors: dict[str, Detector] = {}
    for name, files in args.models:  # without files, the shipped weights
        ours = FaceDetector(*files, device='cpu', score_thr=None, clip=False)
        detectors[name] = partial(detect, ours)
    if args.yunet:
        detectors['YuNet'] = load_yunet(args.yunet)
    if args.centerface:
        detectors['CenterFace'] = load_centerface(args.centerface)
    return detectors


def load_timed(args: argparse.Namespace) -> dict[str, Detector]:
    """Load all detectors of which the time is measured, by name."""
    return load_detectors(args) | {
        name: UntrainedDetector(read_config(config), SHARE)
        for name, config in args.untrained
    }


def evaluate(
    detectors: Mapping[str, Detector],
    dataset: WIDERFaceTxtDataset,
    max_size: int | None = None,
) -> dict[str, list[FaceAP]]:
    """Compute each detector's AP over all faces and in each height band."""
    found: dict[str, list[ImageFaces]] = {name: [] for name in detectors}
    for i in tqdm(range(len(dataset)), Path(dataset.ann_file).stem, disable=None):
        info = dataset.get_data_info(i)
        faces = read_instances(info['instances'])
        image = read_image(info['img_path'])
        seen = limit_size(image, max_size)
        limits = np.array([*image.shape[1::-1]] * 2)
        for name, detect in detectors.items():
            bboxes, scores = detect(seen)
            bboxes = rescale_boxes(bboxes, seen.shape, image.shape).clip(0, limits)
            found[name].append(ImageFaces(bboxes, scores, *faces))
    return {
        name: list(evaluate_face_ap(images).values()) for name, images in found.items()
    }


def time_detectors(
    load: Callable[[], dict[str, Detector]],
    images: Sequence[np.ndarray],
    threads: int,
    runs: int,
) -> dict[str, float]:
    """Measure each detector's milliseconds an image, with so many threads."""
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    cpus = os.sched_getaffinity(0)
    # onnxruntime takes a thread for each CPU that it may use when it loads a file.
    os.sched_setaffinity(0, sorted(cpus)[:threads])
    try:
        detectors = load()
    finally:
        os.sched_setaffinity(0, cpus)
    # Another detector's threads go on for a while, looking for work.
    idle = partial(time.sleep, 0.1)
    medians = []
    for image in tqdm(images, f'{threads} threads', disable=None):
        calls = [partial(detect, image) for detect in detectors.values()]
        medians.append(time_interleaved(calls, runs, idle))
    columns = zip(detectors, zip(*medians, strict=True), strict=True)
    return {name: 1e3 * statistics.median(column) for name, column in columns}


def run(args: argparse.Namespace) -> list[dict[str, str]]:
    """Measure all and return the table's rows."""
    load = partial(load_timed, args)
    detectors = load_detectors(args)
    datasets = [
        WIDERFaceTxtDataset(
            ann_file=str(ann),
            data_prefix=dict(img=str(images)),
            test_mode=True,
            pipeline=[],
        )
        for ann, images in zip(args.ann, args.images, strict=True)
    ]
    results = [evaluate(detectors, each, args.max_size) for each in datasets]
    paths = [
        each.get_data_info(i)['img_path'] for each in datasets for i in range(len(each))
    ]
    chosen = np.linspace(0, len(paths) - 1, min(args.timed, len(paths))).astype(int)
    images = [
        cv2.resize(read_image(paths[i]), args.size, interpolation=cv2.INTER_AREA)
        for i in chosen
    ]
    times = {n: time_detectors(load, images, n, args.runs) for n in args.threads}

    titles = [Path(each.ann_file).stem.removesuffix('_bbx_gt') for each in datasets]
    if args.plot:
        aps = [{name: bands[0].ap for name, bands in each.items()} for each in results]
        threads = max(args.threads)
        plural = 's' * (threads > 1)
        label = f'ms, {args.size[0]}x{args.size[1]}, {threads} thread{plural}'
        figure = draw_speed([*zip(titles, aps, strict=True)], times[threads], label)
        figure.savefig(args.plot)

    def row(detector: str, cells: Sequence[str]) -> dict[str, str]:
        ms = {
            f'ms, {n} thread{"s" * (n > 1)}': f'{found[detector]:.1f}'
            for n, found in times.items()
        }
        return dict(detector=detector) | dict(zip(APS, cells, strict=True)) | ms

    rows = []
    for title, dataset, result in zip(titles, datasets, results, strict=True):
        numbers = [str(band.num_faces) for band in next(iter(result.values()))]
        title = f'{title}: {len(dataset)} images, faces'
        rows.append(dict(detector=title) | dict(zip(APS, numbers, strict=True)))
        for detector, bands in result.items():
            cells = [f'{b.ap:.3f}' if b.num_faces else '-' for b in bands]
            rows.append(row(detector, cells))
    return rows + [row(name, '-' * len(APS)) for name, _ in args.untrained]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return the exit status."""
    args = parse_args(argv)
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    # At low scores there are as many faces as a model gives.
    warnings.filterwarnings('ignore', 'max_faces')
    try:
        rows = run(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'compare_detectors: {error}', file=sys.stderr)
        return 1
    limit = f'at most {args.max_size} pixels long' if args.max_size else 'as they are'
    timed = '; ms: an image of {}x{} pixels'.format(*args.size) if args.threads else ''
    print(f'{describe_machine("cpu")}, OpenCV {cv2.__version__}')
    print(f'AP at IoU 0.5 (not official), by face height, images {limit}{timed}')
    command = [Path(__file__).name, *(sys.argv[1:] if argv is None else argv)]
    print(f'{shlex.join(command)}\n')
    align = ['left', *['right'] * (len(APS) + len(args.threads))]
    print(tabulate(rows, 'keys', 'github', disable_numparse=True, colalign=align))
    return 0


if __name__ == '__main__':
    sys.exit(main())
