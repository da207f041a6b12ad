"""Compare the speed of an exported SRN with that of its model in PyTorch, on the CPU.

    python tools/deployment/benchmark_onnx.py CONFIG CHECKPOINT MODEL.onnx

Both turn arrays of bytes into boxes: preprocessing, network, decoding and NMS. Their
runs are interleaved, so that other load affects both; medians and their ratio are
printed. MODEL.onnx must be an export of this checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence

import mmdet_srn  # noqa: F401  before cv2, whose images it limits

# isort: split
import cv2
import numpy as np
import torch

from mmdet_srn.benchmark.arguments import read_size
from mmdet_srn.benchmark.measuring import time_interleaved
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.detector.images import read_image
from mmdet_srn.model_loader import load_detector, run_detector
from mmdet_srn.trust import add_trust_option


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('checkpoint', metavar='CHECKPOINT')
    parser.add_argument('model', metavar='MODEL.onnx')
    parser.add_argument(
        '--image', help='photograph, brought to each size (default: noise)'
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=read_size,
        default=[(256, 256), (640, 480), (1024, 768)],
        metavar='WxH',
        help='(default: 256x256 640x480 1024x768)',
    )
    parser.add_argument('--batch-sizes', nargs='+', type=int, default=[1, 4])
    parser.add_argument(
        '--runs', type=int, default=7, help='timed calls of each (default: %(default)s)'
    )
    parser.add_argument(
        '--threads', type=int, default=1, help='of each (default: %(default)s)'
    )
    add_trust_option(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        _, detector, _ = load_detector(args.config, args.checkpoint)
        runner = OnnxRunner(args.model, args.threads)
        photograph = read_image(args.image) if args.image else None
    except (OSError, ValueError, ImportError) as error:
        print(f'benchmark_onnx: {error}', file=sys.stderr)
        return 1
    print(f'{args.threads} threads, medians of {args.runs} calls, milliseconds a call')
    print(
        f'{"size":>11} {"batch":>5} {"boxes":>6} {"torch":>8} {"onnx":>8} {"ratio":>6}'
    )
    rng = np.random.default_rng(0)
    for width, height in args.sizes:
        if photograph is None:
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
        else:
            image = cv2.resize(photograph, (width, height))
        for batch_size in args.batch_sizes:
            batch = [image] * batch_size
            boxes = len(runner([image])[0][0])
            slow, fast = time_interleaved(
                [lambda b=batch: run_detector(detector, b), lambda b=batch: runner(b)],
                args.runs,
            )
            print(
                f'{f"{width}x{height}":>11} {batch_size:5} {boxes:6} {1e3 * slow:8.1f} '
                f'{1e3 * fast:8.1f} {slow / fast:6.2f}',
                flush=True,
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
