"""Names of the test protocols: a figure means nothing without its protocol."""

from typing import NamedTuple

#: Printed and stored if nobody said how the detections were made.
UNKNOWN_PROTOCOL = 'unknown'


class Protocol(NamedTuple):
    """How an image is scaled for the test."""

    description: str  # one line for the reader
    #: Largest (long, short) side in pixels, as in mmdet's ``Resize(scale=...,
    #: keep_ratio=True)``; None if the protocol does something else.
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
    """Return the name of a protocol and, if it is one of ours, its description."""
    if name == UNKNOWN_PROTOCOL:
        return f'{name} (nobody said how the detections were made)'
    base = name.split(', ')[0]  # changed settings follow
    if base not in PROTOCOLS:
        return name
    return f'{name} ({PROTOCOLS[base].description})'
