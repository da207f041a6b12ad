"""Convert an annotation of faces to WIDER FACE's text or COCO's JSON.

    python convert_annotations.py IN train.txt --val val.txt --images FOLDER
    python convert_annotations.py yolo_folder/ OUT.json --classes face mask

IN is one of: WIDER FACE's text, Datumaro's or CVAT's dialect of it, RetinaFace's
label.txt, lines of a path and corners, a CSV with a header, COCO's JSON; or a folder
with YOLO's, Pascal VOC's or LabelMe's files. Its format is recognised. Paths in OUT
are below --images: the folder of IN, or IN itself, unless it is named.

With --val the images are split. The name of an image alone decides where it goes, so it
stays there when images are added or removed.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.datasets import formats
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('annotation', metavar='IN', type=Path)
    add('out', metavar='OUT', type=Path, help='.txt or .json')
    add('--val', metavar='FILE', type=Path, help='for the images held out, as OUT')
    add(
        '--share',
        type=float,
        default=0.1,
        help='of the images to hold out (default: %(default)s)',
    )
    add('--images', metavar='FOLDER', type=Path, help="the images' folder")
    add(
        '--classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help='labels to keep (default: the only one). Each is a category of COCO; in '
        "WIDER FACE's text all are faces",
    )
    add(
        '--corners',
        action='store_true',
        default=None,
        help='the numbers of a list are x1 y1 x2 y2 where its format says x y w h',
    )
    add(
        '--boxes-are',
        choices=('upright', 'unturned'),
        help='boxes of images that an EXIF tag turns: as displayed, or as stored '
        '(default: as the annotated sizes tell)',
    )
    args = parser.parse_args(argv)
    for path in (args.out, args.val):
        if path and path.suffix not in ('.txt', '.json'):
            parser.error(f'{path} must end in .txt or .json')
    return args


def is_held_out(name: str, share: float) -> bool:
    """Decide whether an image is for validation, by the SHA-1 of its name."""
    digest = hashlib.sha1(name.encode()).digest()
    return int.from_bytes(digest[:4], 'big') < share * 2**32


def main(argv: Sequence[str] | None = None) -> int:
    """Convert and report; return the exit status."""
    args = parse_args(argv)
    source = args.annotation
    folder = args.images or (source if source.is_dir() else source.parent)
    try:
        name, images = formats.read_annotation(source, args.corners)
        kept, left_out = formats.clean(images, folder, args.classes, args.boxes_are)
        labels = {face.label for image in kept for face in image.faces}
        classes = args.classes or sorted(labels)
        parts = {args.out: kept}
        if args.val:
            parts = {args.out: [], args.val: []}
            for image in kept:
                held_out = is_held_out(image.path, args.share)
                parts[args.val if held_out else args.out].append(image)
        for path, part in parts.items():
            formats.write_annotation(path, part, classes)
    except (OSError, AnnotationError) as error:
        print(f'convert_annotations: {error}', file=sys.stderr)
        return 1
    print(f'{source} is {formats.FORMATS[name].title}')
    print(f'read: {count(images)}')
    for path, part in parts.items():
        print(f'{path}: {count(part)}')
    for reason, found in left_out.items():
        if found:
            what = formats.REASONS[reason]
            print(f'left out: {len(found)} {what}, such as {found[0]}')
    return 0


def count(images: Sequence[formats.LabelledImage]) -> str:
    """Say how many images and faces there are."""
    return f'{len(images)} images, {sum(len(image.faces) for image in images)} faces'


if __name__ == '__main__':
    sys.exit(main())
