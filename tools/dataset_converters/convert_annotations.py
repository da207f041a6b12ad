"""Convert an annotation of faces to WIDER FACE's text or COCO's JSON.

    python convert_annotations.py IN OUT.txt --images FOLDER
    python convert_annotations.py yolo_folder/ OUT.json --classes face mask

IN is one of: WIDER FACE's text, Datumaro's or CVAT's dialect of it, RetinaFace's
label.txt, lines of a path and corners, a CSV with a header, COCO's JSON; or a folder
with YOLO's, Pascal VOC's or LabelMe's files. Its format is recognised. Paths in OUT
are below --images: the folder of IN, or IN itself, unless it is named.
"""

import argparse
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
    if args.out.suffix not in ('.txt', '.json'):
        parser.error(f'OUT must end in .txt or .json, not {args.out}')
    return args


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
        coco = args.out.suffix == '.json'
        text = formats.to_coco(kept, classes) if coco else formats.to_wider_face(kept)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding='utf-8')
    except (OSError, AnnotationError) as error:
        print(f'convert_annotations: {error}', file=sys.stderr)
        return 1
    faces = sum(len(image.faces) for image in kept)
    before = sum(len(image.faces) for image in images)
    print(f'{source} is {formats.FORMATS[name].title}')
    print(f'{args.out}: {len(kept)} of {len(images)} images, {faces} of {before} faces')
    for reason, found in left_out.items():
        if found:
            what = formats.REASONS[reason]
            print(f'left out: {len(found)} {what}, such as {found[0]}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
