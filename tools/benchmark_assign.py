"""Times the matching of anchors and faces, beside mmdet's, and measures its memory.

The anchors are SRN's. In step 1 they are matched as they are, in step 2 those of P5
to P7 are moved first, as the first regression does. Each row of the table is
measured in processes of its own, mmdet's first; both results must be the same.
"""

import argparse
import hashlib
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

import mmdet_srn  # noqa: F401
from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt

#: Thresholds of each step (paper).
STEPS = (
    dict(pos_iou_thr=0.7, neg_iou_thr=0.3),
    dict(pos_iou_thr=0.5, neg_iou_thr=0.4),
)
STRIDES = (4, 8, 16, 32, 64, 128)
MIB = 2**20


class Measured(NamedTuple):
    """What one matching takes.

    Attributes:
        seconds: Wall time of the fastest run.
        cpu_seconds: CPU time, of all threads, of the fastest run.
        extra: How many bytes more than before the first run held at its peak.
        digest: Of the result; equal for equal results.
    """

    seconds: float
    cpu_seconds: float
    extra: int
    digest: str


def make_priors(size: int, step: int) -> Tensor:
    """Makes the priors of a step.

    Args:
        size: Side of the square image in pixels.
        step: 0 or 1.

    Returns:
        Boxes (P, 4), xyxy in pixels.
    """
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
    """Makes up faces: anywhere, from 6 pixels to a third of the image.

    Args:
        number: How many.
        size: Side of the image in pixels.

    Returns:
        Boxes (K, 4), xyxy in pixels.
    """
    random = torch.Generator().manual_seed(0)
    octaves = torch.log2(torch.tensor(size / 3 / 6))
    width = 6 * torch.exp2(octaves * torch.rand(number, 1, generator=random) ** 2)
    half = torch.cat([width, 1.25 * width], dim=1) / 2
    centre = torch.rand(number, 2, generator=random) * size
    return torch.cat([centre - half, centre + half], dim=1)


def read_faces(path: str, numbers: list[int], size: int) -> list[Tensor]:
    """Reads real layouts, scaled until the last face touches the image's border.

    Args:
        path: WIDER FACE's annotation.
        numbers: How many faces; the image of most faces, but no more, is taken.
        size: Side of the image in pixels.

    Returns:
        For each number boxes (K, 4), xyxy in pixels.
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


def resident_bytes(peak: bool = False) -> int:
    """Tells how much memory this process holds, or held at its peak.

    Args:
        peak: Whether the peak is asked for.

    Returns:
        Bytes.
    """
    status = Path('/proc/self/status')
    if not status.is_file():  # no Linux: only the peak is known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    field = 'VmHWM:' if peak else 'VmRSS:'
    (line,) = [x for x in status.read_text().splitlines() if x.startswith(field)]
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Lets the peak of this process begin anew, where the system can."""
    path = Path('/proc/self/clear_refs')
    if path.exists():
        path.write_text('5')


def measure(kind: str, step: int, faces: Tensor, args: argparse.Namespace) -> Measured:
    """Measures one assigner, in a process that does nothing else.

    Args:
        kind: Type of the assigner.
        step: 0 or 1.
        faces: Boxes (K, 4).
        args: Arguments of the command line.

    Returns:
        What it takes.
    """
    torch.set_num_threads(args.threads)
    assigner = TASK_UTILS.build(
        dict(type=kind, **STEPS[step], match_low_quality=args.low_quality)
    )

    def assign(priors: Tensor, bboxes: Tensor) -> Tensor:
        labels = torch.zeros(len(bboxes), dtype=torch.long)
        return assigner.assign(
            InstanceData(priors=priors), InstanceData(bboxes=bboxes, labels=labels)
        ).gt_inds

    assign(make_priors(64, step), make_faces(2, 64))  # loads what is loaded late
    priors = make_priors(args.size, step)
    forget_peak()
    before = resident_bytes()
    gt_inds = assign(priors, faces)
    extra = resident_bytes(peak=True) - before
    digest = hashlib.sha256(gt_inds.numpy().tobytes()).hexdigest()
    times, cpu_times, end = [], [], time.perf_counter() + args.seconds
    while not times or time.perf_counter() < end:
        start, cpu_start = time.perf_counter(), time.process_time()
        assign(priors, faces)
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu_start)
    return Measured(min(times), min(cpu_times), extra, digest)


def main() -> int:
    """Runs the benchmark and prints a table.

    Returns:
        Exit status: 1 if the results differ.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--annotation',
        metavar='FILE',
        help='WIDER FACE text annotation to take layouts from (default: made up)',
    )
    parser.add_argument(
        '--faces',
        type=int,
        nargs='+',
        default=[0, 50, 400, 1000, 1968],
        help='numbers of faces (default: %(default)s)',
    )
    parser.add_argument(
        '--size', type=int, default=1024, help='pixels (default: %(default)s)'
    )
    parser.add_argument('--threads', type=int, default=2, help='(default: %(default)s)')
    parser.add_argument(
        '--stock-up-to',
        type=int,
        default=1000,
        metavar='N',
        help="most faces for mmdet's, which at 1000 takes 6 GB (default: %(default)s)",
    )
    parser.add_argument(
        '--low-quality', action='store_true', help='with low quality matches'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=2.0,
        help='how long to repeat each measurement (default: %(default)s)',
    )
    args = parser.parse_args()
    layouts = (
        read_faces(args.annotation, args.faces, args.size)
        if args.annotation
        else [make_faces(number, args.size) for number in args.faces]
    )
    context = multiprocessing.get_context('spawn')
    print(f'{len(make_priors(args.size, 0)):,} anchors, {args.threads} threads')
    print(f'{"":12}{"MaxIoUAssigner":^27}{"GridMaxIoUAssigner":^27}{"faster":^16}')
    unit = f'{"s":>9}{"CPU s":>9}{"MiB":>9}'
    print(f'{"faces":>6}{"step":>6}{unit}{unit}{"wall":>8}{"CPU":>8}')
    agree = True
    with context.Pool(1, maxtasksperchild=1) as pool:
        for faces in layouts:
            for step in range(len(STEPS)):
                row = f'{len(faces):6}{step + 1:6}'
                stock = None
                if len(faces) <= args.stock_up_to:
                    task = 'MaxIoUAssigner', step, faces, args
                    stock = pool.apply(measure, task)
                    row += show(stock)
                else:
                    row += f'{"-":>9}' * 3
                ours = pool.apply(measure, ('GridMaxIoUAssigner', step, faces, args))
                row += show(ours)
                if stock is not None:
                    row += f'{stock.seconds / ours.seconds:8.1f}'
                    row += f'{stock.cpu_seconds / ours.cpu_seconds:8.1f}'
                    if stock.digest != ours.digest:
                        row += '  THE RESULTS DIFFER'
                        agree = False
                print(row, flush=True)
    return 0 if agree else 1


def show(measured: Measured) -> str:
    """Formats a measurement as three columns."""
    return (
        f'{measured.seconds:9.4f}{measured.cpu_seconds:9.4f}{measured.extra / MIB:9.1f}'
    )


if __name__ == '__main__':
    sys.exit(main())
