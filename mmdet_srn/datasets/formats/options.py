"""How an annotation is to be read, as the tools' command lines say."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from .cleaning import BoxesAre


class Reading(NamedTuple):
    """How an annotation is to be read.

    Attributes:
        classes: Labels of faces.
        corners: Whether the numbers of a list or of COCO's bbox are x1 y1 x2 y2, not
            x y w h.
        boxes_are: See :func:`clean`.
    """

    classes: Sequence[str] = ('face',)
    corners: bool = False
    boxes_are: BoxesAre | None = None


def add_reading_options(
    parser: argparse.ArgumentParser, classes: Sequence[str], classes_help: str
) -> None:
    """Add an option for each field of :class:`Reading`.

    Args:
        parser: Gets them.
        classes: Default of ``--classes``.
        classes_help: Its help.
    """
    parser.add_argument(
        '--classes', nargs='+', default=classes, metavar='NAME', help=classes_help
    )
    parser.add_argument(
        '--corners',
        action='store_true',
        help="the numbers of a list or of COCO's bbox are x1 y1 x2 y2 where the format "
        'says x y w h',
    )
    parser.add_argument(
        '--boxes-are',
        choices=('upright', 'unturned'),
        help='boxes of images that an EXIF tag turns: as displayed, or as stored '
        '(default: as the annotated sizes tell)',
    )
