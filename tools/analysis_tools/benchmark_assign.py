"""Compare time and memory of matching anchors and faces with those of mmdet's assigner.

The anchors are SRN's. In step 1 they are matched as they are; in step 2 those of P5 to
P7 are moved first, as the first regression does. Each assigner is measured in a
process of its own, mmdet's first; both results must be the same. Times are those of
the fastest run, memory that of the first.
"""

import argparse
import hashlib
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from tabulate import tabulate
from torch import Tensor
from torch.utils.benchmark import Timer, timer
from tqdm import tqdm

import mmdet_srn  # noqa: F401
from mmdet_srn.benchmark.memory import peak_memory
from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt

#: Thresholds of each step (paper).
STEPS = (
    dict(pos_iou_thr=0.7, neg_iou_thr=0.3),
    dict(pos_iou_thr=0.5, neg_iou_thr=0.4),
)
STRIDES = (4, 8, 16, 32, 64, 128)


class Measured(NamedTuple):
    """Seconds of wall clock and of CPU, MiB at the peak, and a digest of the result."""

    seconds: float
    cpu_seconds: float
    mib: float | None
    digest: str


def make_priors(size: int, step: int) -> Tensor:
    """Make a step's priors (P, 4), xyxy in pixels, for a square image."""
    generator = TASK_UTILS.build(dict(type='SRNAnchorGenerator', strides=STRIDES))
    maps = [(-(-size // stride), -(-size // stride)) for stride in STRIDES]
    levels = generator.grid_priors(maps, device='cpu')
    if step == 0:
        return torch.cat(levels)
    anchors = torch.cat(levels[3:])
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    sides = anchors[:, 2:] - anchors[:, :2]
    random = torch.Generator().manual_seed(0)
    shift, scale = 0.2 * torch.randn(2, *sides.shape, generator=random)
    centre, half = centre + shift * sides, sides * scale.exp() / 2
    return torch.cat([*levels[:3], torch.cat([centre - half, centre + half], dim=1)])


def make_faces(number: int, size: int) -> Tensor:
    """Make faces (K, 4), xyxy: anywhere, from 6 pixels to a third of the image."""
    random = torch.Generator().manual_seed(0)
    octaves = torch.log2(torch.tensor(size / 3 / 6))
    width = 6 * torch.exp2(octaves * torch.rand(number, 1, generator=random) ** 2)
    half = torch.cat([width, 1.25 * width], dim=1) / 2
    centre = torch.rand(number, 2, generator=random) * size
    return torch.cat([centre - half, centre + half], dim=1)


def read_faces(path: str, numbers: list[int], size: int) -> list[Tensor]:
    """Read real layouts from WIDER FACE's annotation, scaled to fill the image.

    For each number, the image with the most faces, but no more, is taken.

    Returns:
        For each number, boxes (K, 4), xyxy in pixels.
    """
    records = read_wider_face_txt(path)
    layouts = []
    for number in numbers:
        allowed = [record for record in records if len(record.faces) <= number]
        record = max(allowed, key=lambda record: len(record.faces))
        boxes = torch.from_numpy(record.faces[:, :4]).float()
        boxes[:, 2:] += boxes[:, :2]
        if len(boxes):
            boxes *= size / boxes[:, 2:].max()
        layouts.append(boxes)
    return layouts


def measure(kind: str, step: int, faces: Tensor, args: argparse.Namespace) -> Measured:
    """Measure one type of assigner on faces (K, 4), in a fresh process."""
    torch.set_num_threads(args.threads)
    assigner = TASK_UTILS.build(
        dict(type=kind, **STEPS[step], match_low_quality=args.low_quality)
    )

    def assign(priors: Tensor, bboxes: Tensor) -> Tensor:
        labels = torch.zeros(len(bboxes), dtype=torch.long)
        return assigner.assign(
            InstanceData(priors=priors), InstanceData(bboxes=bboxes, labels=labels)
        ).gt_inds

    def fastest(clock: Callable[[], float]) -> float:
        names = dict(assign=assign, priors=priors, faces=faces)
        call = 'assign(priors, faces)'
        timed = Timer(call, timer=clock, globals=names, num_threads=args.threads)
        return min(timed.blocked_autorange(min_run_time=args.seconds).times)

    assign(make_priors(64, step), make_faces(2, 64))  # loads what is loaded late
    priors = make_priors(args.size, step)
    gt_inds, extra = peak_memory(lambda: assign(priors, faces), priors.device)
    digest = hashlib.sha256(gt_inds.numpy().tobytes()).hexdigest()
    mib = None if extra is None else extra / 2**20
    return Measured(fastest(timer), fastest(time.process_time), mib, digest)


def main() -> int:
    """Run the benchmark and print a table; return 1 if the results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    text = 'WIDER FACE text annotation to take layouts from (default: synthetic ones)'
    add('--annotation', metavar='FILE', help=text)
    numbers, text = [0, 50, 400, 1000, 1968], 'numbers of faces (default: %(default)s)'
    add('--faces', type=int, nargs='+', default=numbers, help=text)
    add('--size', type=int, default=1024, help='pixels (default: %(default)s)')
    add('--threads', type=int, default=2, help='(default: %(default)s)')
    text = "most faces for mmdet's, which at 1000 takes 6 GB (default: %(default)s)"
    add('--stock-up-to', type=int, default=1000, metavar='N', help=text)
    add('--low-quality', action='store_true', help='with low quality matches')
    text = 'how long to repeat each measurement (default: %(default)s)'
    add('--seconds', type=float, default=2.0, help=text)
    args = parser.parse_args()
    if args.annotation:
        layouts = read_faces(args.annotation, args.faces, args.size)
    else:
        layouts = [make_faces(number, args.size) for number in args.faces]
    print(f'{len(make_priors(args.size, 0)):,} anchors, {args.threads} threads')
    rows, agree = [], True
    cases = [(faces, step) for faces in layouts for step in range(len(STEPS))]
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for faces, step in tqdm(cases, leave=False):
            stock = None
            if len(faces) <= args.stock_up_to:
                stock = pool.apply(measure, ('MaxIoUAssigner', step, faces, args))
            ours = pool.apply(measure, ('GridMaxIoUAssigner', step, faces, args))
            row = [len(faces), step + 1, *(stock or [None] * 4)[:3], *ours[:3]]
            if stock is not None:
                row.append(f'{stock.seconds / ours.seconds:.1f}')
                row.append(f'{stock.cpu_seconds / ours.cpu_seconds:.1f}')
                if stock.digest != ours.digest:
                    row.append('THE RESULTS DIFFER')
                    agree = False
            rows.append(row)
    units = ['wall s', 'CPU s', 'MiB']
    kinds = [f'{kind}\n{unit}' for kind in ('MaxIoU', 'GridMaxIoU') for unit in units]
    names = ['faces', 'step', *kinds, 'faster\nwall', 'faster\nCPU', '']
    digits = ['', '', *['.4f', '.4f', '.1f'] * 2, '.1f', '.1f', '']
    rows = [[*row, '', '', ''][: len(names)] for row in rows]
    print(tabulate(rows, names, 'plain', floatfmt=digits, missingval='-'))
    return 0 if agree else 1


if __name__ == '__main__':
    sys.exit(main())
