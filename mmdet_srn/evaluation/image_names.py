"""Names of images in result folders."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def name_images(paths: Sequence[str], official: bool = False) -> list[str]:
    """Name images by their folders and file, such as ``0--Parade/0_Parade_1.jpg``.

    Args:
        paths: Paths of all images that are named together.
        official: As the official ground truth does: by the last folder and the file.
            Defaults to False: by every folder below the one that all of them are in,
            and one folder at least.

    Returns:
        The names, with suffix and '/' between the folders.
    """
    parts = [PurePath(os.path.abspath(path)).parts for path in paths]
    if official or not parts:
        return ['/'.join(names[-2:]) for names in parts]
    shared = len(PurePath(os.path.commonpath(map(os.path.abspath, paths))).parts)
    start = min(shared, *(len(names) - 2 for names in parts))
    return ['/'.join(names[start:]) for names in parts]


def check_unique(names: Sequence[str]) -> None:
    """Stop where two images would have one result file.

    Args:
        names: Names of all images, without suffix.

    Raises:
        ValueError: If a name comes twice.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f'{len(twice)} images came more than once, such as {twice[0]}')
