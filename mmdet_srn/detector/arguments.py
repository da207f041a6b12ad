"""Find faces in images, folders, videos and webcams; draw them and save the results.

    python -m mmdet_srn photo.jpg holiday/ 'scans/*.png' clip.mp4 0
    python -m mmdet_srn rtsp://camera/stream --out - | jq .scores
    ffmpeg -i INPUT -f matroska - | python -m mmdet_srn -

Other commands, with a -h of their own: python -m mmdet_srn detect_many, for millions of
pictures, and export, to ONNX. This one is detect, which need not be said, unless a file
is called like a command: detect export, or ./export.

INPUT is an image, a folder (with all below it), a quoted pattern, a video, the number
of a webcam, the address of a video or stream (rtsp://, rtsps://, http://, https://), or
- for stdin; several may be given. Through stdin comes one picture (cat photo.jpg |) or
one video that can be read as it comes, such as Matroska or MPEG-TS; names come through
xargs. Without --checkpoint the model is the one that is shipped.

Into the folder --out go NAME_faces.jpg for an image, NAME_faces.mkv for a video (with
its times and sound if PyAV is installed), and the results:

    json    faces.jsonl, one line an image: image, frame and time in seconds (of
            videos), width, height, bboxes [[x1, y1, x2, y2], ..], scores, ids (tracked)
    csv     faces.csv, one row a face:
            image,frame,width,height,x1,y1,x2,y2,score,time,id
    wider   wider/<folder>/<image>.txt, WIDER FACE's official files
    coco    faces_coco.json: images and annotations with scores, boxes x, y, w, h,
            track_id (tracked)

With --out - the lines of json (or the rows of csv) go to stdout, and nothing else:
nothing is drawn, messages go to stderr.

Boxes are in pixels of the image as it is displayed, that is with its EXIF orientation
applied. An image whose longer side is above --max-size is made smaller for the
detector; its boxes are in its own pixels nevertheless. --tile finds small faces in huge
pictures: it looks in overlapping tiles of the picture as it is, and in the whole, made
smaller. Inputs are never written to. One process at a time writes to --out; another one
ends with an error. HEIC needs pillow-heif (pip install pillow-heif).

A second run with the same options and --out skips what the first has finished, and adds
the rest. With other options, changed inputs, or a webcam, a stream or stdin among those
of either, it is an error. --overwrite begins anew.

Boxes are clipped to the image. A warning names an image with as many faces as
--max-faces allows. Animations (GIF, WebP, PNG) are read as videos; of a file with
several pages the first is read, with a warning.

With --hide it is NAME_hidden.jpg and NAME_hidden.mkv, with hidden faces in place of
boxes. In a video a face stays hidden where it is not found for --hide-gap frames. Only
"box" leaves nothing of a face. A face that is never found is not hidden: look at what
you publish.

With --every N, boxes in the frames between are interpolated where a face is found in
both; other faces have none there. --track numbers the faces of videos, from the second
frame of each on (pip install "mmdet_srn[track]"). Every frame of a stream is looked at,
so what takes longer than the stream falls behind: --every helps.

Images are read one after the other, so memory does not grow with the length of a
video. Ctrl-C stops after the images at hand, a second Ctrl-C at once; what was
finished until then is on the disk and whole. Exit status: 0 if all was done, 1 after
an error, 2 for wrong arguments, 3 if inputs were left out (each is named on stderr)
and all others done, 130 after Ctrl-C, 143 if terminated; mim makes 1 of all but 0.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .hiding import STYLES
from .model_files import add_model_options
from .writers import FORMATS

STDOUT = Path('-')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmdet_srn',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='see above')
    add_model_options(parser)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('detections'),
        help='folder, or - for stdout (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='begin anew where --out has results of an earlier run',
    )
    parser.add_argument(
        '--format',
        dest='formats',
        type=_formats,
        default=['json'],
        help=f'of {",".join(FORMATS)}, with commas between (default: json)',
    )
    parser.add_argument(
        '--no-draw', dest='draw', action='store_false', help='only write results'
    )
    parser.add_argument(
        '--max-faces',
        type=int,
        help="most faces of an image, the best (default: the model's, SRN: 750)",
    )
    parser.add_argument(
        '--min-size',
        type=float,
        default=0,
        help='least shorter side of a face in pixels of the image (default: any)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        help='cut larger images into tiles with sides of so many pixels, such as 1280 '
        '(default: no tiles)',
    )
    parser.add_argument(
        '--no-clip',
        dest='clip',
        action='store_false',
        help='keep boxes as the model gives them, also beyond the image',
    )
    parser.add_argument(
        '--multi-scale', action='store_true', help="run the config's multi-scale test"
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images at once, if of one size (default: %(default)s)',
    )
    parser.add_argument(
        '--threads', type=int, help='threads on a CPU (default: as many as CPUs)'
    )
    parser.add_argument(
        '--hide', choices=STYLES, help='hide faces, instead of drawing boxes'
    )
    parser.add_argument(
        '--hide-margin',
        type=float,
        default=0.2,
        help='border hidden around a box, in its longer side (default: %(default)s)',
    )
    parser.add_argument(
        '--hide-ellipse', action='store_true', help='hide the ellipse in that area only'
    )
    parser.add_argument(
        '--hide-gap',
        type=int,
        metavar='FRAMES',
        help='in videos, how long a face that is not found stays hidden; as many '
        'frames are in memory (default: 10, with --every N at least 2 N - 1)',
    )
    parser.add_argument(
        '--save-crops',
        type=Path,
        metavar='DIR',
        help='write each face as a picture to this folder in --out',
    )
    parser.add_argument(
        '--crop-margin',
        type=float,
        default=0.2,
        help="border around a face, in its box's longer side (default: %(default)s)",
    )
    parser.add_argument(
        '--crop-min-size',
        type=float,
        default=1,
        help='leave out faces with a shorter side, in pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--track', action='store_true', help='number the faces of videos'
    )
    parser.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='of videos detect in one of N frames (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    if args.out == STDOUT:
        args.draw = False
        if args.formats not in (['json'], ['csv']):
            parser.error('--out - takes --format json or csv, one of them')
        if args.save_crops is not None:
            parser.error('--out - writes no pictures, --save-crops does')
    if args.hide and not args.draw:
        parser.error('--hide writes pictures, --no-draw and --out - none')
    margin = min(args.hide_margin, args.crop_margin)
    if min(args.every, args.crop_min_size) < 1 or margin < 0:
        parser.error('--every and --crop-min-size must be 1 or more, margins 0 or more')
    if args.hide_gap is None:
        # A face missed once is not found in 2 N - 1 frames.
        args.hide_gap = max(10, 2 * args.every - 1)
    elif args.hide_gap < 0:
        parser.error('--hide-gap must be 0 or more')
    if args.batch_size < 1 or args.max_size < 0:
        parser.error('--batch-size must be 1 or more, --max-size 0 or more')
    if args.tile is not None and args.tile < 64:
        parser.error('--tile must be 64 or more')
    return args


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(',')))
    if unknown := [name for name in names if name not in FORMATS]:
        raise argparse.ArgumentTypeError(
            f'{unknown[0]!r} is none of {", ".join(FORMATS)}'
        )
    return names
