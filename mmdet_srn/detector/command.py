"""Find faces in images, folders, videos and webcams; draw them and save the results.

    python -m mmdet_srn photo.jpg holiday/ 'scans/*.png' clip.mp4 0
    python -m mmdet_srn rtsp://camera/stream --out - | jq .scores
    ffmpeg -i INPUT -f matroska - | python -m mmdet_srn -

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
    coco    faces_coco.json: images and annotations with scores, boxes x, y, w, h

With --out - the lines of json (or the rows of csv) go to stdout, and nothing else:
nothing is drawn, messages go to stderr.

Boxes are in pixels of the image as it is displayed, that is with its EXIF orientation
applied. An image whose longer side is above --max-size is made smaller for the
detector; its boxes are in its own pixels nevertheless. --tile finds small faces in huge
pictures: it looks in overlapping tiles of the picture as it is, and in the whole, made
smaller. Inputs are never written to. One process at a time writes to --out; another one
ends with an error. HEIC needs pillow-heif (pip install pillow-heif).

A second run with the same options and --out skips what the first has finished, and adds
the rest; with other options, or changed inputs, it is an error. --overwrite begins
anew, as do webcams, streams and stdin, which add to nothing.

Boxes are clipped to the image. A warning names an image with as many faces as
--max-faces allows. Animations (GIF, WebP, PNG) are read as videos; of a file with
several pages the first is read, with a warning.

With --hide it is NAME_hidden.jpg and NAME_hidden.mkv, with hidden faces in place of
boxes. In a video a face stays hidden where it is not found for --hide-gap frames. Only
"box" leaves nothing of a face. A face that is never found is not hidden: look at what
you publish.

With --every N, boxes in the frames between are interpolated where a face is found in
both; other faces have none there. --track numbers the faces of videos, from the second
frame of each on (pip install "mmdet_srn[track]").

Images are read one after the other, so memory does not grow with the length of a
video. Ctrl-C stops after the images at hand, a second Ctrl-C at once; what was
finished until then is on the disk and whole. Exit status: 0 if all was done, 1 after
an error, 2 for wrong arguments, 3 if inputs were left out (each is named on stderr)
and all others done, 130 after Ctrl-C, 143 if terminated; mim makes 1 of all but 0.
"""

import argparse
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from ..version import __version__
from .face_detector import FaceDetections, FaceDetector
from .folder_lock import lock_folder
from .gaps import GapFiller
from .hiding import STYLES, Hiding
from .images import ImageError
from .journal import Journal, find_journal
from .model_files import add_model_options, find_model, hash_model
from .sources import Frame, Skipped, Source, count_frames, find_sources, frames
from .tracking import FaceTracker
from .writers import (
    FORMATS,
    CropFiles,
    DrawnFiles,
    HiddenFiles,
    LineFile,
    Writer,
    take_claims,
    take_stdout,
)

STDOUT = Path('-')
#: Arguments on which no result depends.
_WITHOUT_EFFECT = (
    *('inputs', 'out', 'overwrite', 'config', 'checkpoint', 'device', 'threads'),
    *('batch_size', 'trust_checkpoint'),
)


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
        parser.error('--hide writes pictures, --no-draw none')
    if min(args.every, args.crop_min_size) < 1 or args.crop_margin < 0:
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


@contextmanager
def note_signals() -> Iterator[list[int]]:
    """Note the first Ctrl-C (or SIGTERM), raise KeyboardInterrupt at the second.

    So what is being written gets finished. mim kills its script a quarter of a second
    after Ctrl-C, which the outputs survive.

    Yields:
        A list that gets the number of the first signal.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Run:
    """Detects, draws, writes and counts.

    Attributes:
        detector: The detector.
        writers: Each gets every image with what was found on it.
        args: The command line.
        bar: Progress.
        tracker: Numbers the faces of videos.
        journal: Where to note inputs that are done with; None: nowhere.
    """

    detector: FaceDetector
    writers: Sequence[Writer]
    args: argparse.Namespace
    bar: tqdm
    tracker: FaceTracker | None = None
    journal: Journal | None = None
    images: int = 0
    faces: int = 0
    left_out: int = 0
    warnings: int = 0
    crowded: int = 0
    _crowded: Source | None = None
    _current: Source | None = None
    _problems: dict[Source, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gaps = GapFiller(self.args.every - 1)

    def __call__(self, window: list[Frame]) -> bool:
        """Process a few images; return whether there were any.

        No name keeps them while the next ones are read.
        """
        for pair in self._detect(window):
            self._write(self._gaps.push(*pair))
        return bool(window)

    def finish(self) -> None:
        """Write the frames that wait for the next detection."""
        self._write(self._gaps.flush())

    def _write(self, ready: Iterable[tuple[Frame, FaceDetections]]) -> None:
        for frame, faces in ready:
            if frame.source is not self._current:
                self.end_input()
                self._current = frame.source
            for writer in self.writers:
                writer.write(frame, faces)
            self.images += 1
            self.faces += len(faces)
            self.crowded += faces.limit_reached
            # A video is named once, not for each frame.
            if faces.limit_reached and frame.source is not self._crowded:
                self._crowded = frame.source
                self.warn(f'{frame.source}: as many faces as --max-faces allows')
            self.bar.update()

    def end_input(self) -> None:
        """Note that the current input is done with."""
        source, self._current = self._current, None
        if self.journal is None or source is None:
            return
        files, lengths = [], {}
        for writer in self.writers:
            if isinstance(writer, LineFile):
                lengths[writer.path.name] = writer.length
            elif isinstance(writer, DrawnFiles):
                writer.close()  # its video
            files += take_claims(writer)
        self.journal.add(source, files, lengths, self._problems.pop(source, None))

    def leave_out(self, source: Source | None, message: str) -> None:
        """Count and name an input that cannot be used, or not to its end.

        ``source`` is None for a folder that cannot be read, and for an input of an
        earlier run.
        """
        if source is not None:
            self._problems[source] = message
        self.left_out += 1
        self.bar.update(source is not None and source.kind == 'image')
        self.bar.write(f'left out: {message}', file=sys.stderr)

    def warn(self, message: Warning | str, *_: object) -> None:
        """Show and count a warning; for ``warnings.showwarning``."""
        self.warnings += 1
        self.bar.write(f'warning: {message}', file=sys.stderr)

    def _detect(self, window: list[Frame]) -> list[tuple[Frame, FaceDetections]]:
        """Return frames and their faces; none in those that --every leaves out."""
        chosen = [frame for frame in window if not (frame.index or 0) % self.args.every]
        try:
            found = self.detector.detect(
                [frame.image for frame in chosen],
                batch_size=self.args.batch_size,
                max_size=self.args.max_size or None,
                multi_scale=self.args.multi_scale,
                tile=self.args.tile,
            )
        except ImageError as error:
            if len(window) > 1:  # it is one of them
                return [pair for frame in window for pair in self._detect([frame])]
            self.leave_out(window[0].source, f'{window[0].source}: {error}')
            return []
        faces = dict(zip(map(id, chosen), found, strict=True))
        return [(frame, self._number(frame, faces.get(id(frame)))) for frame in window]

    def _number(self, frame: Frame, faces: FaceDetections | None) -> FaceDetections:
        """Return the faces of a frame (None: not looked for), with ids if asked to."""
        if faces is not None:
            return faces if self.tracker is None else self.tracker(frame, faces)
        nothing = np.zeros((0, 4), np.float32)
        height, width = frame.image.shape[:2]
        ids = None if self.tracker is None else np.zeros(0, int)
        return FaceDetections(nothing, nothing[:, 0], width, height, ids=ids)


def find_writers(args: argparse.Namespace) -> list[Callable[..., Writer]]:
    """Return what makes the writers that the command line asks for.

    Each takes the folder and the inputs.
    """
    makers: list[Callable[..., Writer]] = [FORMATS[name] for name in args.formats]
    if args.hide:
        hiding = Hiding(args.hide, args.hide_margin, args.hide_ellipse)
        makers.append(partial(HiddenFiles, hiding=hiding, gap=args.hide_gap))
    elif args.draw:
        makers.append(DrawnFiles)
    if args.save_crops is not None:
        options = dict(margin=args.crop_margin, min_size=args.crop_min_size)
        makers.append(
            lambda out, inputs: CropFiles(out / args.save_crops, inputs, **options)
        )
    return makers


def load_model(args: argparse.Namespace) -> FaceDetector:
    """Load the model that the command line names."""
    config, checkpoint = find_model(args.config, args.checkpoint)
    detector = FaceDetector(
        config,
        checkpoint,
        device=args.device,
        score_thr=args.score_thr,
        max_faces=args.max_faces,
        min_size=args.min_size,
        clip=args.clip,
        threads=args.threads,
    )
    if args.multi_scale and not detector.has_multi_scale:
        raise ValueError(
            f'--multi-scale: {config or checkpoint or "the shipped model"} has no '
            'tta_model'
        )
    return detector


def _open_journal(args: argparse.Namespace, sources: list[Source]) -> Journal | None:
    """Open the journal of ``--out``; None for inputs that cannot be read again."""
    if any(source.is_live for source in sources):
        path = find_journal(args.out)
        if args.overwrite:
            path.unlink(missing_ok=True)
        elif path.exists():
            raise ValueError(
                f'{args.out} holds results, to which webcams, streams and stdin cannot '
                'add: give another --out, or --overwrite to replace them'
            )
        return None
    options: dict[str, Any] = dict(version=__version__)
    options['model'] = hash_model(*find_model(args.config, args.checkpoint))[:16]
    options |= {k: v for k, v in vars(args).items() if k not in _WITHOUT_EFFECT}
    return Journal(args.out, options, args.overwrite)


def run(args: argparse.Namespace, stdout: BinaryIO | None = None) -> int:
    """Detect on all inputs; return the exit status.

    Args:
        args: The command line.
        stdout: Gets the results instead of a folder.

    Raises:
        OSError: If a file of the model or an input is missing, something cannot be
            written, or another process writes there.
        ValueError: If an argument cannot be used.
        ImportError: If onnxruntime is needed and missing.
    """
    skipped = Skipped()
    sources = find_sources(args.inputs, args.out, skipped)
    makers = find_writers(args)
    tracker = FaceTracker(args.every) if args.track else None
    detector = load_model(args)
    taken = [source.location for source in sources if not source.is_live]
    journal, finished = None, []
    with ExitStack() as stack:
        if stdout is None:
            args.out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock_folder(args.out))
            journal = _open_journal(args, sources)
        signals = stack.enter_context(note_signals())
        if journal is not None:
            stack.enter_context(closing(journal))
            taken += journal.files
            entries = {source: journal.find(source) for source in sources}
            sources = [source for source, entry in entries.items() if entry is None]
            finished = [entry for entry in entries.values() if entry is not None]
        writers = []
        for make in makers:
            lines = isinstance(make, type) and issubclass(make, LineFile)
            rest = (journal.lengths,) if journal and lines else ()
            writer = make(stdout or args.out, taken, *rest)
            writers.append(stack.enter_context(closing(writer)))
        # disable=None: no bar unless stderr is a terminal.
        bar = tqdm(total=count_frames(sources), unit='image', disable=None)
        bar = stack.enter_context(closing(bar))
        work = Run(detector, writers, args, bar, tracker, journal)
        problems = [entry['problem'] for entry in finished if entry['problem']]
        for message in skipped.unreadable + problems:
            work.leave_out(None, message)
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = work.warn
        warnings.filterwarnings('ignore', 'max_faces')  # said with the source's name
        images = frames(sources, detector.read, work.leave_out)
        while not signals and work(list(islice(images, args.batch_size))):
            pass
        work.finish()
        if not signals:
            work.end_input()
    out = 'stdout' if stdout else args.out
    print(f'{work.images} images, {work.faces} faces; written to {out}')
    if finished:
        print(
            f'{len(finished)} inputs skipped, as an earlier run has finished them '
            '(--overwrite: all anew)',
            file=sys.stderr,
        )
    if skipped.files:
        print(f'skipped in folders: {skipped}', file=sys.stderr)
    for number, text in (
        (work.crowded, 'images with as many faces as --max-faces allows, maybe more'),
        (work.warnings, 'warnings, see above'),
        (work.left_out, 'inputs left out, see above'),
    ):
        if number:
            print(number, text, file=sys.stderr)
    if signals:
        print('stopped; what was finished is there', file=sys.stderr)
        return 128 + signals[0]
    return 3 if work.left_out else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names that are not UTF-8
    try:
        with take_stdout() if args.out == STDOUT else nullcontext() as stdout:
            return run(args, stdout)
    except BrokenPipeError:  # who read stdout, such as head, has enough
        return 128 + signal.SIGPIPE
    except (OSError, ValueError, ImportError) as error:
        print(f'detect: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
