"""Find faces with an exported SRN, without PyTorch.

    python tools/deployment/detect_onnx.py MODEL.onnx IMAGE...

prints one line of JSON for each image: its name, boxes (x1 y1 x2 y2 in pixels) and
scores, best first. It needs NumPy, OpenCV, Pillow and onnxruntime, neither PyTorch nor
mmdet. An image that cannot be read is named and skipped; the exit status is then 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.detector.images import ImageError, read_image


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', metavar='MODEL.onnx')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='faces must score above it (default: %(default)s)',
    )
    parser.add_argument('--threads', type=int, help='of onnxruntime (default: all)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Find faces and print them; return the exit status."""
    args = parse_args(argv)
    unread = 0
    try:
        runner = OnnxRunner(args.model, args.threads)
        for name in args.images:
            try:
                image = read_image(name)
            except (OSError, ImageError) as error:
                print(f'detect_onnx: cannot read {name}: {error}', file=sys.stderr)
                unread += 1
                continue
            [(boxes, scores)] = runner([image], args.score_thr)
            found = dict(image=name, boxes=boxes.tolist(), scores=scores.tolist())
            print(json.dumps(found), flush=True)
    except (OSError, ValueError, ImportError) as error:
        print(f'detect_onnx: {error}', file=sys.stderr)
        return 1
    if unread:
        print(f'detect_onnx: {unread} images skipped', file=sys.stderr)
    return 1 if unread else 0


if __name__ == '__main__':
    sys.exit(main())
