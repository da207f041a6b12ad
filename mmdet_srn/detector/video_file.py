"""Detect truncated video files by what their containers say."""

import os
from os import PathLike

_EBML, _SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
# The first eight bytes of the identifiers of Windows Media's header and data.
_ASF = (bytes.fromhex('3026b2758e66cf11'), bytes.fromhex('3626b2758e66cf11'))
# The parts of an MP4 or QuickTime file.
_BOXES = (
    *(b'ftyp', b'styp', b'moov', b'mdat', b'moof', b'mfra', b'sidx', b'wide', b'free'),
    *(b'skip', b'uuid', b'meta', b'pdin', b'pnot', b'udta', b'emsg', b'prft'),
)


def inspect_video(path: str | PathLike[str]) -> tuple[int, bool]:
    """Walk through the parts of a container; nothing is decoded.

    AVI, MP4 (and its relatives), Matroska, WebM, Windows Media and Flash say how long
    their parts are. MPEG streams and Ogg do not: they are taken to be complete.

    Returns:
        Number of bytes missing at the end, and whether the container counts its frames
        (AVI, MP4 without fragments); OpenCV estimates their number elsewhere.
    """
    kinds = set()
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position < size:
            file.seek(position)
            header = file.read(24)
            kinds |= {header[:4], header[4:8]}
            length = _length(header)
            if length is None:  # unknown, or what follows is not a part
                position = size
            else:
                position += length
    counted = b'RIFF' in kinds or (b'moov' in kinds and b'moof' not in kinds)
    return position - size, counted


def _length(header: bytes) -> int | None:
    """Return the bytes of a part, from its first 24; None if it does not say."""
    if header[:4] == b'RIFF':
        length = int.from_bytes(header[4:8], 'little')
        return 8 + length if length else None  # an interrupted recording
    if header[4:8] in _BOXES:
        length = int.from_bytes(header[:4], 'big')
        if length == 1:
            length = int.from_bytes(header[8:16], 'big')
        return length if length >= 8 else None  # 0: to the end of the file
    if header[:4] in (_EBML, _SEGMENT):
        return _ebml_length(header[4:])
    if header[:8] in _ASF:
        length = int.from_bytes(header[16:24], 'little')
        return length if length > 50 else None  # a broadcast
    if header[:3] == b'FLV':
        return 13
    if header[0] & 0x1F in (8, 9, 18):  # sound, picture, script
        return 15 + int.from_bytes(header[1:4], 'big')
    return None


def _ebml_length(text: bytes) -> int | None:
    """Return the bytes of an element, from what follows its identifier of four."""
    width = 9 - text[0].bit_length() if text and text[0] else 9
    if width > 8 or len(text) < width:
        return None
    bits = 7 * width
    length = int.from_bytes(text[:width], 'big') & ((1 << bits) - 1)
    return None if length == (1 << bits) - 1 else 4 + width + length  # a live stream
