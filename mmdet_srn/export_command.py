"""Export a trained SRN to ONNX, for batches and images of any size.

    python -m mmdet_srn export CONFIG CHECKPOINT OUT.onnx

The file takes `images`, uint8 (batch, height, width, 3) in OpenCV's channel order,
BGR, and normalises them itself. By default it gives the faces after NMS:

    boxes   float32 (batch, K, 4), x1 y1 x2 y2 in pixels of the image, best first
    scores  float32 (batch, K)
    counts  int64 (batch), how many of the K rows are faces; the others are padding,
            boxes of 0 with a score of -1

With --form boxes these are the candidates before NMS; with --form raw the file gives
the maps of the network instead, both steps'. Thresholds are the config's test_cfg,
which --cfg-options changes:

    --cfg-options model.test_cfg.score_thr=0.05 model.test_cfg.max_per_img=100

With --static the file is for runtimes without dynamic shapes, such as OpenCV's: it
takes float32 (N, 3, H, W) from 0 to 255, BGR, and gives the boxes (N, P, 4) and scores
(N, P) of all anchors, 0 for what the first step or a threshold drops:

    net = cv2.dnn.readNetFromONNX('static.onnx')
    net.setInput(cv2.dnn.blobFromImage(image))
    boxes, scores = net.forward(['boxes', 'scores'])
    corners, sizes = boxes[0, :, :2], boxes[0, :, 2:] - boxes[0, :, :2]
    faces = cv2.dnn.NMSBoxes(np.hstack([corners, sizes]), scores[0], 0.5, 0.4)

tools/deployment/detect_onnx.py and mmdet_srn.FaceDetector run a file that is not
static. The export needs `pip install "mmdet_srn[export]"`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

from .deploy.onnx_export import OPSET, export_onnx
from .deploy.onnx_runner import OnnxRunner
from .deploy.srn_graph import FORMS
from .detector.images import read_image
from .evaluation.parity import BOX_TOLERANCE, SCORE_TOLERANCE, compare_detections
from .model_loader import load_detector, run_detector
from .trust import add_trust_option


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmdet_srn export',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('checkpoint', metavar='CHECKPOINT')
    parser.add_argument('out', metavar='OUT.onnx', help='file to write')
    parser.add_argument(
        '--form', choices=FORMS, default='detections', help='(default: %(default)s)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to replace',
    )
    parser.add_argument(
        '--half-weights',
        action='store_true',
        help='store the weights in float16, compute in float32: half the size, and the '
        'same faces if halve_checkpoint.py made the checkpoint',
    )
    add = parser.add_argument
    text = 'batch, height and width of the only images that the file takes'
    add('--static', nargs=3, type=int, metavar=('N', 'H', 'W'), help=text)
    text = "version of ONNX's operators, with --static (default: %(default)s)"
    add('--opset', type=int, default=OPSET, metavar='NUMBER', help=text)
    text = 'with --static: compute in float16 up to the last convolutions'
    add('--half', action='store_true', help=text)
    parser.add_argument(
        '--verify',
        nargs='+',
        metavar='IMAGE',
        help='run the file and the model on these images, and fail if a box differs by '
        f'more than {BOX_TOLERANCE} pixels or a score by more than {SCORE_TOLERANCE}; '
        'not with --form raw or --static',
    )
    add_trust_option(parser)
    args = parser.parse_args(argv)
    if args.verify and (args.form == 'raw' or args.static):
        parser.error('--verify compares boxes after NMS, not of this form')
    if not args.static and (args.half or args.opset != OPSET):
        parser.error('--half and --opset need --static')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Export, and compare if asked to; return the exit status."""
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    try:
        metadata = export_onnx(
            args.config,
            args.checkpoint,
            args.out,
            args.form,
            args.cfg_options,
            args.half_weights,
            args.static,
            args.opset,
            args.half,
        )
        size = Path(args.out).stat().st_size / 1e6
        form = metadata['form']
        print(f'wrote {args.out}: form {form}, opset {args.opset}, {size:.1f} MB')
        print_resize(metadata)
        return 1 if args.verify and not verify(args) else 0
    except (OSError, ValueError, ImportError) as error:
        print(f'export: {error}', file=sys.stderr)
        return 1


def print_resize(metadata: dict) -> None:
    """Say that the config's test resizes the image, which the file does not do."""
    steps = [step for step in metadata['resize'] if step.get('scale_factor') != 1]
    if steps:
        print(
            f"the config's test protocol, {metadata['protocol']}, resizes the image, "
            f'the file does not: {steps}'
        )


def verify(args: argparse.Namespace) -> bool:
    """Print a table of the file's and the model's boxes; return whether they agree."""
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)[1]
    detector.bbox_head.test_cfg.second_step = 'dense'  # a file asks no QuerySRNHead
    runner = OnnxRunner(args.out)
    print(f'{"faces of model":>14} {"of file":>8} {"pixels":>8} {"score":>8}  image')
    all_same = True
    for name in args.verify:
        image = read_image(name)
        parity = compare_detections(
            run_detector(detector, [image])[0], runner([image])[0]
        )
        print(
            f'{parity.numbers[0]:14} {parity.numbers[1]:8} {parity.box_diff:8.0e} '
            f'{parity.score_diff:8.0e}  {name}'
            + ('' if parity.same else f'  DIFFERS: only {parity.pairs} are the same')
        )
        all_same &= parity.same
    return all_same
