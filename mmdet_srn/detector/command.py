"""``python -m mmdet_srn``, see :mod:`.arguments`."""

import argparse
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from tqdm import tqdm

from ..folder_lock import lock_folder
from ..version import __version__
from .arguments import STDOUT, parse_args
from .face_detector import FaceDetector
from .frames import count_frames, frames
from .hiding import Hiding
from .journal import JOURNAL, Journal
from .model_files import find_model, hash_model
from .pictures import CropFiles, DrawnFiles, HiddenFiles
from .run import Run
from .sources import Skipped, Source, find_sources
from .tracking import FaceTracker
from .writers import FORMATS, LineFile, Writer, take_stdout

#: Arguments on which no result depends.
_WITHOUT_EFFECT = (
    *('inputs', 'out', 'overwrite', 'config', 'checkpoint', 'device', 'threads'),
    *('batch_size', 'trust_checkpoint'),
)


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


def make_writers(
    args: argparse.Namespace,
    out: Path | BinaryIO,
    taken: Sequence[str],
    lengths: Mapping[str, int],
) -> Iterator[Writer]:
    """Make the writers that the command line asks for, one after the other.

    ``taken`` are files that must not be written to; ``lengths``: see `.LineFile`.
    """
    for name in args.formats:
        kind = FORMATS[name]
        rest = (lengths,) if issubclass(kind, LineFile) else ()
        yield kind(out, taken, *rest)
    if args.hide:
        hiding = Hiding(args.hide, args.hide_margin, args.hide_ellipse)
        yield HiddenFiles(out, taken, hiding=hiding, gap=args.hide_gap)
    elif args.draw:
        yield DrawnFiles(out, taken)
    if args.save_crops is not None:
        options = dict(margin=args.crop_margin, min_size=args.crop_min_size)
        yield CropFiles(out / args.save_crops, taken, **options)


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


def _open_journal(args: argparse.Namespace, sources: list[Source]) -> Journal:
    """Open the journal of ``--out``: a new one for inputs that come only once."""
    live = any(source.is_live for source in sources)
    if live and not args.overwrite and (args.out / JOURNAL).exists():
        raise ValueError(
            f'{args.out} holds results, to which webcams, streams and stdin cannot '
            'add: give another --out, or --overwrite to replace them'
        )
    options: dict[str, Any] = dict(version=__version__, live_inputs=live)
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
        lengths = journal.lengths if journal else {}
        writers = []
        for writer in make_writers(args, stdout or args.out, taken, lengths):
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
