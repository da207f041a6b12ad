"""Readers of command line arguments, for argparse."""

import argparse
import re
from collections.abc import Callable


def read_size(text: str) -> tuple[int, int]:
    """Read a size.

    Args:
        text (str): Such as '640x480', width first.

    Returns:
        tuple[int, int]: Width and height, at least 1.
    """
    found = re.fullmatch(r'0*([1-9][0-9]*)x0*([1-9][0-9]*)', text)
    if not found:
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480')
    return int(found[1]), int(found[2])


def percent(text: str) -> float:
    """Read a share in percent."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 100')
    return value


def whole(least: int) -> Callable[[str], int]:
    """Make what reads a number of at least ``least``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f'{text} is less than {least}')
        return int(text)

    return number
