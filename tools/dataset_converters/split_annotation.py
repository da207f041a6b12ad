"""Split an annotation in WIDER FACE's text layout into training and validation.

    python split_annotation.py SET/SET_bbx_gt.txt --train A.txt --val B.txt

The name of an image alone decides where it goes, so it stays there when images are
added or removed.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('MMDET_SRN_LIGHT', '1')  # needs neither PyTorch nor mmdet
sys.path.append(str(Path(__file__).resolve().parents[2]))  # a clone, not installed

from mmdet_srn.datasets.wider_face_txt_reader import (
    AnnotationError,
    read_wider_face_txt,
)


def is_held_out(name: str, share: float) -> bool:
    """Decide whether an image is for validation, by the SHA-1 of its name."""
    digest = hashlib.sha1(name.encode()).digest()
    return int.from_bytes(digest[:4], 'big') < share * 2**32


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('annotation', type=Path)
    parser.add_argument('--train', type=Path, required=True, help='file to write')
    parser.add_argument('--val', type=Path, required=True, help='file to write')
    text = 'for validation (default: %(default)s)'
    parser.add_argument('--share', type=float, default=0.1, help=text)
    args = parser.parse_args(argv)
    try:
        images = read_wider_face_txt(args.annotation)
    except (OSError, AnnotationError) as error:
        parser.error(str(error))
    lines: dict[bool, list[str]] = {False: [], True: []}
    for image in images:
        rows = [' '.join(map(str, row)) for row in image.faces.tolist()]
        block = [image.path, str(len(rows)), *(rows or ['0 0 0 0 0 0 0 0 0 0'])]
        lines[is_held_out(image.path, args.share)] += block
    for path, part in ((args.train, lines[False]), (args.val, lines[True])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'{line}\n' for line in part), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
