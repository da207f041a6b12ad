"""Names of images in result folders."""

import os
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import PurePath


def name_images(paths: Sequence[str], official: bool = False) -> list[str]:
    """Name images by their folders and file, such as ``0--Parade/0_Parade_1.jpg``.

    Args:
        paths: Paths of all images that are named together.
        official: Keep the last folder only, as the official ground truth does;
            otherwise all folders below the common one, at least one.
    """
    parts = [PurePath(os.path.abspath(path)).parts for path in paths]
    if official or not parts:
        return ['/'.join(names[-2:]) for names in parts]
    shared = len(PurePath(os.path.commonpath(map(os.path.abspath, paths))).parts)
    start = min(shared, *(len(names) - 2 for names in parts))
    return ['/'.join(names[start:]) for names in parts]


def match_end(path: str, names: Container[str]) -> str | None:
    """Find the longest of the names that a path ends with, by whole folders.

    Args:
        path: Of any machine.
        names: With forward slashes.
    """
    parts = path.replace('\\', '/').split('/')
    ends = ('/'.join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in names), None)


def check_unique(names: Sequence[str]) -> None:
    """Raise a ValueError if two images (names without suffix) share a result file."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f'{len(twice)} images came more than once, such as {twice[0]}')
