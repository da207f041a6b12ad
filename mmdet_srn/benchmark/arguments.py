"""Types of command line arguments, for argparse."""

import argparse
import re
from collections.abc import Callable


def read_size(text: str) -> tuple[int, int]:
    """Read a size such as '640x480': width and height, at least 1."""
    found = re.fullmatch(r'0*([1-9][0-9]*)x0*([1-9][0-9]*)', text)
    if not found:
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480')
    return int(found[1]), int(found[2])


def percent(text: str) -> float:
    """Read a percentage from 0 to 100."""
    if not 0 <= float(text) <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 100')
    return float(text)


def whole(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers of at least ``least``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f'{text} is less than {least}')
        return int(text)

    return number
