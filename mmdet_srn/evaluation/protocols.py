"""Names of the test protocols: a figure means nothing without its protocol."""

from typing import NamedTuple

#: What is printed and stored where nobody said how the detections were made.
UNKNOWN_PROTOCOL = 'unknown'


class Protocol(NamedTuple):
    """How an image is scaled for the test.

    Attributes:
        description: One line for the reader.
        scale: (longest, shortest) allowed side in pixels, as mmdet's
            ``Resize(scale=..., keep_ratio=True)`` takes it; None if this is not what
            the protocol does.
    """

    description: str
    scale: tuple[int, int] | None


#: The protocols in use on WIDER FACE.
PROTOCOLS = {
    'vga': Protocol(
        'single scale, long side to fit 640x640, aspect ratio kept (as SCRFD)',
        (640, 640),
    ),
    '1650x1100': Protocol(
        'single scale, short side 1100 unless the long one would pass 1650 '
        '(as TinaFace)',
        (1650, 1100),
    ),
    'original': Protocol('single scale, the image as it is', None),
    'ms-1400': Protocol("SRN's multi-scale test, at most 1400^2 pixels", None),
    'ms-2100': Protocol("SRN's multi-scale test, at most 2100^2 pixels", None),
}


def describe_protocol(name: str) -> str:
    """The name of a protocol and, if it is one of ours, what it is.

    Args:
        name: The name.

    Returns:
        One line.
    """
    if name == UNKNOWN_PROTOCOL:
        return f'{name} (nobody said how the detections were made)'
    base = name.split(', ')[0]  # what follows are settings that were changed
    if base not in PROTOCOLS:
        return name
    return f'{name} ({PROTOCOLS[base].description})'
