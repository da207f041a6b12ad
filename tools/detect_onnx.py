"""Find faces with an exported SRN, without PyTorch.

    python tools/detect_onnx.py MODEL.onnx IMAGE...

prints one line of JSON for each image: its name, boxes (x1 y1 x2 y2 in pixels) and
scores, best first. It needs NumPy, OpenCV, Pillow and onnxruntime, neither PyTorch nor
mmdet. An image that cannot be read is named and passed over; the exit status is then 1.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

# As mmdet_srn does it: what OpenCV decodes at most.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(2**28))


def import_alone(part: str, name: str) -> ModuleType:
    """Imports a module of mmdet_srn without mmdet_srn, which needs the stack.

    Args:
        part (str): The module's folder, such as 'deploy'.
        name (str): The module's name, such as 'onnx_runner'.

    Returns:
        ModuleType: The module.
    """
    folder = Path(__file__).resolve().parents[1] / 'mmdet_srn'
    if not (folder / 'deploy').is_dir():  # this script comes from a wheel
        spec = importlib.util.find_spec('mmdet_srn')
        if spec is None or not spec.submodule_search_locations:
            raise ImportError('mmdet_srn is not installed')
        folder = Path(spec.submodule_search_locations[0])
    # The folder as a package of its own: modules find those beside them, and neither
    # its __init__ nor mmdet_srn's runs.
    package = ModuleType(f'mmdet_srn_{part}_alone')
    package.__path__ = [str(folder / part)]
    sys.modules[package.__name__] = package
    return importlib.import_module(f'{package.__name__}.{name}')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        argv (Sequence[str], optional): Defaults to None, the process's own.

    Returns:
        argparse.Namespace: What it says.
    """
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
    """Finds faces and prints them.

    Args:
        argv (Sequence[str], optional): Defaults to None, the process's own.

    Returns:
        int: Exit status.
    """
    args = parse_args(argv)
    unread = 0
    try:
        images = import_alone('detector', 'images')
        runner = import_alone('deploy', 'onnx_runner').OnnxRunner(
            args.model, args.threads
        )
        for name in args.images:
            try:
                image = images.read_image(name)
            except (OSError, images.ImageError) as error:
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
        print(f'detect_onnx: {unread} images passed over', file=sys.stderr)
    return 1 if unread else 0


if __name__ == '__main__':
    sys.exit(main())
