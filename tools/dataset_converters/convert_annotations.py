"""Convert an annotation of faces to WIDER FACE's text or COCO's JSON.

    python convert_annotations.py IN train.txt --val val.txt --images FOLDER
    python convert_annotations.py yolo_folder/ OUT.json --classes face mask

IN is one of: WIDER FACE's text, Datumaro's or CVAT's dialect of it, RetinaFace's
label.txt, lines of a path and corners, a CSV with a header, COCO's JSON; or a folder
with YOLO's, Pascal VOC's or LabelMe's files, or with Roboflow's parts of any of these.
Its format is recognised. Paths in OUT are below --images: the folder of IN, or IN
itself, unless it is named.

With --val the images are split: by folders named train, valid (or val) and test, if
there are the first two, else by name. The name of an image alone decides then, so it
stays where it is when images are added or removed.
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

#: Folders of the parts of an export, Roboflow's or YOLO's.
PARTS = {'train': 'train', 'valid': 'val', 'val': 'val', 'test': 'test'}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('annotation', metavar='IN', type=Path)
    add('out', metavar='OUT', type=Path, help='.txt or .json')
    add('--val', metavar='FILE', type=Path, help='for the images held out, as OUT')
    add('--test', metavar='FILE', type=Path, help='for those of folders named test')
    add(
        '--share',
        type=float,
        default=0.1,
        help='of the images to hold out, if no folders decide (default: %(default)s)',
    )
    add('--images', metavar='FOLDER', type=Path, help="the images' folder")
    formats.add_reading_options(
        parser,
        [],
        'labels to keep (default: the only one). Each is a category of COCO; in WIDER '
        "FACE's text all are faces",
    )
    args = parser.parse_args(argv)
    files = [path for path in (args.out, args.val, args.test) if path]
    for path in files:
        if path.suffix not in ('.txt', '.json'):
            parser.error(f'{path} must end in .txt or .json')
    if len({path.resolve() for path in files}) < len(files):
        parser.error('OUT, --val and --test must be different files')
    if not 0 <= args.share <= 1:
        parser.error(f'--share must be from 0 to 1, not {args.share:g}')
    if args.test and not args.val:
        parser.error('--test needs --val')
    return args


def split(
    images: Sequence[formats.LabelledImage], share: float
) -> dict[str, list[formats.LabelledImage]]:
    """Split images into 'train', 'val' and 'test', and '' for those of no part.

    Args:
        images: Of any folders. If there are folders of the parts, these decide: they
            are often made so that copies of a photograph stay together.
        share: Of the images for 'val' otherwise, by the SHA-1 of their names.
    """
    parts = [part_of_folder(image.path) for image in images]
    if {'train', 'val'} <= set(parts):
        print('split by the names of folders')
    else:
        parts = [
            'val' if is_held_out(image.path, share) else 'train' for image in images
        ]
    found = {'train': [], 'val': [], 'test': [], '': []}
    for image, part in zip(images, parts, strict=True):
        found[part].append(image)
    return found


def part_of_folder(path: str) -> str:
    """Tell by the names of an image's folders which part it is of; '' if none does."""
    names = [PARTS[name] for name in path.split('/')[:-1] if name in PARTS]
    return names[0] if names else ''


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
        kept, left_out = formats.clean(
            images, folder, args.classes, args.boxes_are, args.corners
        )
        labels = {face.label for image in images for face in image.faces}
        classes = args.classes or sorted(labels) or ['face']
        parts, files = {'train': kept}, {'train': args.out}
        if args.val:
            parts = split(kept, args.share)
            files |= {'val': args.val} | ({'test': args.test} if args.test else {})
        written = {
            path: formats.write_annotation(path, parts.pop(part), classes)
            for part, path in files.items()
        }
    except (OSError, AnnotationError) as error:
        print(f'convert_annotations: {error}', file=sys.stderr)
        return 1
    print(f'{source} is {formats.FORMATS[name].title}')
    faces = sum(len(image.faces) for image in images)
    print(f'read: {len(images)} images, {faces} faces')
    if not faces:
        print('no face: every image counts as a scene without faces', file=sys.stderr)
    for path, content in written.items():
        print(f'{path}: {content}')
    for reason, found in left_out.items():
        if found:
            what = formats.REASONS[reason]
            print(f'left out: {len(found)} {what}, such as {found[0]}')
    for part, rest in parts.items():
        if rest:
            where = f'in {part}, see --test' if part else 'in none of the parts'
            print(f'left out: {len(rest)} images {where}, such as {rest[0].path}')
    if args.out.suffix == '.json':
        print(f'in the config: classes = {tuple(classes)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
