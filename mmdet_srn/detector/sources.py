"""Inputs of the command: files, folders, patterns, videos, webcams, streams."""

import errno
import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

Kind: TypeAlias = Literal['image', 'video', 'webcam', 'stream', 'stdin']

#: Suffixes by which files are recognised, also in folders.
VIDEO_SUFFIXES = (
    *('.3g2', '.3gp', '.asf', '.avi', '.f4v', '.flv', '.m2ts', '.m4v', '.mkv', '.mov'),
    *('.mp4', '.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
)
#: Likewise. HEIC needs pillow-heif; without it an error says so.
IMAGE_SUFFIXES = (
    *('.avif', '.bmp', '.dib', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe'),
    *('.jpeg', '.jpg', '.pam', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.ras', '.sr'),
    *('.tif', '.tiff', '.webp'),
)
#: How the address of a stream begins.
PROTOCOLS = ('rtsp://', 'rtsps://', 'http://', 'https://')


@dataclass(frozen=True)
class Source:
    """One image, video, webcam, stream, or what comes through stdin.

    Attributes:
        kind: Which of them; an image may be an animation.
        location: The file, as the user wrote it; a webcam's number; a stream's address.
        name: For outputs: path without suffix, relative to the folder, or the fixed
            part of the pattern, that it was found through.
    """

    kind: Kind
    location: str
    name: PurePath

    def __str__(self) -> str:
        """Name it in messages and results; of a stream without its password."""
        if self.kind == 'webcam':
            return f'webcam {self.location}'
        if self.kind == 'stream':
            return re.sub('//[^/]*@', '//', self.location)
        return 'stdin' if self.kind == 'stdin' else self.location

    @property
    def is_live(self) -> bool:
        """Whether it cannot be read a second time."""
        return self.kind not in ('image', 'video')


@dataclass
class Skipped:
    """What a search skips.

    Attributes:
        unreadable: A message for each folder that cannot be read.
        files: Number of files of each suffix that is not an image's or a video's, and
            of links to folders.
    """

    unreadable: list[str] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """List the files, the most frequent suffix first."""
        parts = [f'{number} {kind}' for kind, number in self.files.most_common(8)]
        rest = self.files.total() - sum(n for _, n in self.files.most_common(8))
        return ', '.join(parts + ([f'{rest} others'] if rest else []))

    def add_folder(self, error: OSError) -> None:
        """Note a folder that cannot be read."""
        self.unreadable.append(f'{error.filename}: {error.strerror}')

    def add_file(self, path: str | Path) -> None:
        """Count a file."""
        self.files[PurePath(path).suffix.lower() or 'without suffix'] += 1


def find_sources(
    inputs: Sequence[str], outputs: Path, skipped: Skipped | None = None
) -> list[Source]:
    """Find the images, videos, webcams and streams that a user names.

    Folders are searched recursively, and so are those that a pattern matches. Hidden
    files, links to folders and anything in ``outputs`` are skipped there.

    Args:
        inputs: Each a file, a folder, a pattern (``**`` for any folders), the number
            of a webcam, the address of a stream (:data:`PROTOCOLS`) or '-' for stdin.
            Any file without a video suffix is treated as an image.
        outputs: Folder of the results, also of earlier runs.
        skipped: Gets what is skipped in folders and patterns, except hidden files and
            ``outputs``.

    Returns:
        The sources in the order of ``inputs``, in a folder or pattern by name; each
        file once.

    Raises:
        FileNotFoundError: If nothing is found for one of ``inputs``.
        ValueError: If one is the address of a picture.
    """
    found: dict[str, Source] = {}
    skipped = Skipped() if skipped is None else skipped
    for text in inputs:
        path = Path(text)
        if not text:  # such as "$UNSET", which is not meant to be the working folder
            raise FileNotFoundError('no image or video found for an empty name')
        if text == '-' or text.lower().startswith(PROTOCOLS):
            found.setdefault(text, _live_source(text))
            continue
        if path.is_dir():
            files = list(_walk(path, outputs, skipped))
            root = path
        elif path.exists():
            files, root = [path], path.parent
        elif text.isdecimal():
            source = Source('webcam', str(int(text)), PurePath(f'webcam_{int(text)}'))
            found.setdefault(str(source), source)
            continue
        else:
            files, root = list(_match(text, outputs, skipped)), _fixed_part(text)
        if not files:
            raise FileNotFoundError(
                f'no image or video found for {text!r}'
                + (' (what lies in --out is skipped)' if path.is_dir() else '')
                + (f'; skipped: {skipped}' if skipped.files else '')
                + ''.join(f'; {message}' for message in skipped.unreadable)
            )
        for file in files:
            name = PurePath(os.path.relpath(file, root)).with_suffix('')
            kind: Kind = 'video' if _is_video(file) else 'image'
            found.setdefault(os.path.abspath(file), Source(kind, str(file), name))
    return list(found.values())


def _live_source(text: str) -> Source:
    """Return the source of '-' or of an address."""
    if text == '-':
        return Source('stdin', text, PurePath('stdin'))
    address = urlsplit(text)
    if PurePath(address.path).suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(
            f'{text} is the address of a picture, and only videos are read from one: '
            'download it, or send it: curl -L ADDRESS | python -m mmdet_srn -'
        )
    place = address.netloc.rpartition('@')[2] + address.path
    return Source('stream', text, PurePath(re.sub(r'\W+', '_', place).strip('_')))


def _walk(folder: Path, outputs: Path, skipped: Skipped) -> Iterator[Path]:
    ignored = os.path.realpath(outputs)
    for place, folders, files in os.walk(folder, onerror=skipped.add_folder):
        if _lies_in(place, ignored):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        links = sum(os.path.islink(os.path.join(place, name)) for name in folders)
        skipped.files += Counter({'links to folders': links})
        for name in sorted(files):
            if name.startswith('.'):
                continue
            if _is_known(name):
                yield Path(place, name)
            else:
                skipped.add_file(name)


def _match(pattern: str, outputs: Path, skipped: Skipped) -> Iterator[Path]:
    ignored = os.path.realpath(outputs)
    suffix = PurePath(pattern).suffix
    any_suffix = suffix and not glob.has_magic(suffix)  # *.raw: the user knows
    for text in sorted(glob.iglob(pattern, recursive=True)):
        path = Path(text)
        if path.is_dir():
            yield from _walk(path, outputs, skipped)
        elif _lies_in(path, ignored):
            continue
        elif any_suffix or _is_known(text):
            yield path
        else:
            skipped.add_file(path)
    # glob skips unreadable folders silently.
    while glob.has_magic(pattern):
        pattern = os.path.dirname(pattern)
        for folder in glob.glob(os.path.join(pattern, ''), recursive=True):
            if not os.access(folder, os.R_OK | os.X_OK):
                error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
                skipped.add_folder(error)


def _lies_in(path: str | Path, folder: str) -> bool:
    """Whether a path is a folder, given without links, or lies in it."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    folders = PurePath(pattern).parts[:-1]
    return Path(*takewhile(lambda part: not glob.has_magic(part), folders))


def _is_video(path: str | Path) -> bool:
    return PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def _is_known(path: str | Path) -> bool:
    return _is_video(path) or PurePath(path).suffix.lower() in IMAGE_SUFFIXES
