"""Where a JPEG ends, told from its own markers (ITU-T T.81, annex B): what lies behind the end is not looked at."""

from __future__ import annotations

import re

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and the restart markers: no length follows
_LAST_RESERVED = 0xBF  # 02 to BF name no segment
# A marker: any number of FF, then a byte that is neither a stuffed zero nor, within a scan, a restart.
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)


def end_of_jpeg(content: bytes) -> int | None:
    """The place behind the end marker of the JPEG that ``content`` begins with; None where it is cut short.

    Segments are stepped over by their lengths, so that a thumbnail's end marker inside one is not taken for the
    image's, and what a phone or a camera puts behind the image (a video, a second image, any bytes) does not count.
    """
    if content[:2] != b"\xff\xd8":
        return None
    place, marker = 2, _MARKER
    while (found := marker.search(content, place)) is not None:
        code, place, marker = found[1][0], found.end(), _MARKER
        if code == _EOI:
            return place
        if code in _STANDALONE:
            continue
        length = int.from_bytes(content[place : place + 2])
        if code == _SOI or code <= _LAST_RESERVED or length < 2 or place + length > len(content):
            return None
        place += length
        marker = _AFTER_SCAN if code == _SOS else _MARKER
    return None
