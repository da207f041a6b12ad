"""Names of the test protocols: a figure means nothing without its protocol."""

#: Printed and stored if nobody said how the detections were made.
UNKNOWN_PROTOCOL = 'unknown'


#: The protocols in use on WIDER FACE, and how an image is scaled for each.
PROTOCOLS = {
    'vga': 'single scale, long side to fit 640x640, aspect ratio kept (as SCRFD)',
    '1650x1100': 'single scale, short side 1100 unless the long one would pass 1650 '
    '(as TinaFace)',
    'original': 'single scale, the image as it is',
    'ms-1400': "SRN's multi-scale test, at most 1400^2 pixels",
    'ms-2100': "SRN's multi-scale test, at most 2100^2 pixels",
}


def describe_protocol(name: str) -> str:
    """Return the name of a protocol and, if it is one of ours, its description."""
    if name == UNKNOWN_PROTOCOL:
        return f'{name} (nobody said how the detections were made)'
    base = name.split(', ')[0]  # changed settings follow
    if base not in PROTOCOLS:
        return name
    return f'{name} ({PROTOCOLS[base]})'
