"""Let an exported SRN compute in eight bits, faster and smaller.

    python tools/deployment/quantize_onnx.py MODEL.onnx OUT.onnx PHOTOGRAPHS...

MODEL.onnx is a file that `python -m mmdet_srn export` wrote with `--cfg-options
model.test_cfg.second_step=dense`; without a model of yours take the shipped one,
mmdet_srn/weights/srn_efflite0_faces.onnx. PHOTOGRAPHS are files, folders or patterns:
pictures such as the detector will see, with faces, from which the ranges of all maps
are read. Nothing is trained. Take others than those on which you measure.
OUT.onnx runs where MODEL.onnx does. Its boxes and scores differ a little, so measure
both with tools/analysis_tools/compare_detectors.py.

It needs `pip install "mmdet_srn[export]"`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmdet_srn.benchmark.arguments import whole
from mmdet_srn.deploy.onnx_runner import OnnxRunner
from mmdet_srn.deploy.quantize import quantize_onnx
from mmdet_srn.detector.images import ImageError, limit_size, read_image
from mmdet_srn.detector.onnx_backend import read_resize, resize
from mmdet_srn.detector.sources import Source, find_sources


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('model', metavar='MODEL.onnx', type=Path)
    add('out', metavar='OUT.onnx', type=Path, help='file to write')
    add('photographs', metavar='PHOTOGRAPHS', nargs='+')
    text = 'photographs to take, evenly spread over all (default: %(default)s)'
    add('--number', type=whole(1), default=80, metavar='N', help=text)
    text = 'shrink those whose longer side has more pixels (default: %(default)s)'
    add('--max-size', type=whole(1), default=640, metavar='PIXELS', help=text)
    text = (
        'convolutions that stay in float beside the first and the last ones, by '
        "patterns of their weights' names, such as '*backbone.layers.1.*'"
    )
    add('--keep-float', nargs='+', default=[], metavar='PATTERN', help=text)
    return parser.parse_args(argv)


def read_photographs(
    args: argparse.Namespace, sources: Sequence[Source]
) -> Iterator[np.ndarray]:
    """Yield the photographs as the network sees them; name what cannot be read."""
    steps = OnnxRunner(args.model).settings.resize
    steps = [read_resize(args.model, step) for step in steps]
    for source in tqdm(sources, 'calibrate', disable=None):
        try:
            image = limit_size(read_image(source.location), args.max_size)
        except (OSError, ImageError) as error:
            print(f'quantize_onnx: cannot read {source}: {error}', file=sys.stderr)
            continue
        for step in steps:
            image = resize(image, **step)
        yield image


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize; return the exit status."""
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    try:
        found = find_sources(args.photographs, args.out)
        found = [source for source in found if source.kind == 'image']
        chosen = np.linspace(0, len(found) - 1, min(args.number, len(found)))
        sources = [found[int(index)] for index in chosen]
        in_eight, convolutions = quantize_onnx(
            args.model, args.out, read_photographs(args, sources), args.keep_float
        )
    except (OSError, ValueError, ImportError) as error:
        print(f'quantize_onnx: {error}', file=sys.stderr)
        return 1
    before, after = (path.stat().st_size / 1e6 for path in (args.model, args.out))
    print(
        f'wrote {args.out}: {in_eight} of {convolutions} convolutions in eight bits, '
        f'{after:.1f} MB ({before:.1f})'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
