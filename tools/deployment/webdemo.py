"""Serve a page on which to drop a picture and see its faces.

    pip install "mmdet_srn[web]"
    python tools/deployment/webdemo.py

Prints the page's address, http://127.0.0.1:7860/ if that port is free. Boxes and
scores are shown for any least score without running the network again; the drawn
picture, JSON and CSV can be downloaded, as tools/detect.py writes them. Without
--checkpoint the model is the one that is shipped.

Only this machine can open the page unless --host says otherwise: there is no password.
Without --host, requests of other sites' pages are refused, too.
Pictures are done one after the other. What is uploaded lies in a temporary folder, is
deleted after an hour or a little more, and when the page is stopped with Ctrl-C.

Exit status: 0 after Ctrl-C, 1 after an error, 2 for wrong arguments, 143 if
terminated; mim makes 1 of all but 0.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

# Before cv2 is imported; the same as MAX_PIXELS of the page.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', '100000000')

from mmdet_srn import FaceDetector
from mmdet_srn.detector.model_files import add_model_options, find_model
from mmdet_srn.detector.web_page import WebPage, load_gradio
from mmdet_srn.weights import NAME

# Where the slider of the least score begins, our choice: below it SRN's boxes are
# nearly all background.
LEAST_SCORE = 0.05


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument(
        '--max-upload',
        type=int,
        default=20,
        help='largest file in megabytes (default: %(default)s)',
    )
    parser.add_argument(
        '--host',
        help='address to listen at; 0.0.0.0: for the network (default: 127.0.0.1, and '
        "requests of other sites' pages are refused)",
    )
    parser.add_argument('--port', type=int, help='(default: a free one from 7860)')
    args = parser.parse_args(argv)
    if args.max_size < 0 or args.max_upload < 1:
        parser.error('--max-size must be 0 or more, --max-upload 1 or more')
    if not LEAST_SCORE <= args.score_thr <= 1:
        parser.error(f'--score-thr must be from {LEAST_SCORE} to 1')
    return args


def serve(args: argparse.Namespace) -> None:
    """Load the model and serve the page until a signal comes.

    Raises:
        OSError: If a file of the model is missing, or the port is taken.
        ValueError: If config and checkpoint do not fit.
        ImportError: If Gradio, or onnxruntime if needed, is missing.
    """
    load_gradio()  # before the seconds that the model takes
    config, checkpoint = find_model(args.config, args.checkpoint)
    detector = FaceDetector(
        config, checkpoint, device=args.device, score_thr=LEAST_SCORE
    )
    with tempfile.TemporaryDirectory(prefix='mmdet_srn_web_') as folder:
        page = WebPage(
            detector,
            Path(folder),
            _name(config, checkpoint),
            args.score_thr,
            args.max_size or None,
        )
        with page.serve(args.host, args.port, args.max_upload) as address:
            print(f'{address} (stop with Ctrl-C)', flush=True)
            try:
                threading.Event().wait()
            finally:
                # First of all: mim kills a quarter of a second after Ctrl-C.
                shutil.rmtree(folder, ignore_errors=True)


def _name(config: str | None, checkpoint: str | None) -> str:
    name = f'{NAME}, shipped' if checkpoint is None else Path(checkpoint).name
    return name if config is None else f'{Path(config).stem}, {name}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_args(argv)
    # So that the folder goes then, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        serve(args)
    except (OSError, ValueError, ImportError) as error:
        print(f'webdemo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
