"""What a photograph says of itself beside its pixels, carried over to a picture made from it.

EXIF is carried byte for byte (date, camera, focal length, place, maker's notes), but for what would now be wrong: the
pixels are upright already, their sides may have changed, and the small picture inside shows the old one.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2n.datasets.images import format_of
from d2n.errors import ImageError
from d2n.pixels import FORMATS

logger = logging.getLogger(__name__)

_PREFIX = b"Exif\x00\x00"
_ORIENTATION, _EXIF, _GPS, _WIDTH, _HEIGHT = 0x0112, 0x8769, 0x8825, 0xA002, 0xA003
_SHORT, _LONG = 3, 4
# What is taken where a file holds EXIF among tags of its own (TIFF): description, camera, software, dates, rights
_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_LARGEST_DPI = 65535
_RAISED = (
    Exception,
    Warning,
)  # Pillow's readers and writers of metadata raise nearly every kind on odd values


@dataclass(frozen=True)
class Metadata:
    """What goes into the file beside the pixels; b"" and None where there is nothing."""

    exif: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    is_odd: bool = False  # EXIF was there and could not be carried over


def read_metadata(content: bytes, width: int, height: int) -> Metadata:
    """Of an image file's bytes, for upright pixels of the given size. Odd or broken parts are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            exif, is_odd = _exif_of(image, width, height)
            return Metadata(exif, _icc_of(image), _dpi_of(image), is_odd)
        except _RAISED as error:
            logger.debug("metadata of an image cannot be read: %s", error)
            return Metadata(is_odd=True)


def encode_rgb(array: np.ndarray, path: Path, metadata: Metadata, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 as a file in the format that the suffix of ``path`` names, with what of the metadata fits in.

    Raises ImageError for an unknown suffix.
    """
    form, image = format_of(path), Image.fromarray(np.ascontiguousarray(array))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kept in _fewer_and_fewer(metadata, form):
            buffer = io.BytesIO()
            try:
                image.save(buffer, form, quality=quality, **kept)
                return buffer.getvalue()
            except _RAISED as error:
                reason = error
                logger.debug("%s: not with %s: %s", path, ", ".join(kept), error)
    raise ImageError(f"{path}: cannot be written as {form} ({reason})") from reason


def _fewer_and_fewer(metadata: Metadata, form: str) -> Iterator[dict[str, Any]]:
    kept: dict[str, Any] = {}
    exif = _of_tiff(metadata.exif) if form == "TIFF" else metadata.exif
    if exif and form in ("JPEG", "PNG", "WEBP", "TIFF"):
        kept["exif"] = exif
    if metadata.icc:
        kept["icc_profile"] = metadata.icc
    if metadata.dpi:
        kept["dpi"] = metadata.dpi
    yield dict(kept)
    while kept:
        kept.pop(next(iter(kept)))
        yield dict(kept)


def _exif_of(image: Image.Image, width: int, height: int) -> tuple[bytes, bool]:
    """The bytes, and whether they could not be kept."""
    raw = image.info.get("exif")
    try:
        if not isinstance(raw, bytes):
            return _upright(_rebuilt(image.getexif()), width, height), False
        return _upright(raw, width, height), False
    except _RAISED as error:
        logger.debug("EXIF of an image cannot be kept: %s", error)
        return b"", True


def _upright(exif: bytes, width: int, height: int) -> bytes:
    """Orientation 1, the sides given, no picture inside: patched where they stand. ValueError if it is no EXIF."""
    tiff = bytearray(exif.removeprefix(_PREFIX).removeprefix(_PREFIX))  # some write it twice
    if not tiff:
        return b""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(tiff[:4]))
    if order is None:
        raise ValueError(f"begins with {bytes(tiff[:4])!r}")
    first = struct.unpack_from(order + "I", tiff, 4)[0]
    inner = None
    for tag, at in _entries(tiff, order, first):
        if tag == _ORIENTATION:
            struct.pack_into(order + "HHIHH", tiff, at, tag, _SHORT, 1, 1, 0)
        elif tag == _EXIF:
            inner = struct.unpack_from(order + "I", tiff, at + 8)[0]
    end = first + 2 + 12 * struct.unpack_from(order + "H", tiff, first)[0]
    if end + 4 <= len(tiff):
        struct.pack_into(order + "I", tiff, end, 0)  # of the next directory, the small picture's
    if inner is not None:
        for tag, at in _entries(tiff, order, inner):
            if tag in (_WIDTH, _HEIGHT):
                struct.pack_into(order + "HHII", tiff, at, tag, _LONG, 1, width if tag == _WIDTH else height)
    return _PREFIX + bytes(tiff)


def _entries(tiff: bytearray, order: str, directory: int) -> list[tuple[int, int]]:
    """(tag, where its 12 bytes begin) of one directory; ValueError where it ends outside."""
    if directory < 8 or directory + 2 > len(tiff):
        raise ValueError(f"a directory at {directory} of {len(tiff)} bytes")
    count = struct.unpack_from(order + "H", tiff, directory)[0]
    places = [directory + 2 + 12 * i for i in range(count)]
    if places and places[-1] + 12 > len(tiff):
        raise ValueError(f"{count} entries at {directory} of {len(tiff)} bytes")
    return [(struct.unpack_from(order + "H", tiff, at)[0], at) for at in places]


def _of_tiff(exif: bytes) -> bytes:
    """Without what a TIFF says of its own pixels in the same place."""
    parsed = Image.Exif()
    try:
        parsed.load(exif)
        return _rebuilt(parsed)
    except _RAISED as error:
        logger.debug("EXIF cannot be put into a TIFF: %s", error)
        return b""


def _rebuilt(exif: Image.Exif) -> bytes:
    """EXIF of the photograph's own tags alone, those left out that cannot be written."""
    kept = Image.Exif()
    for tag in _TAGS:
        if tag in exif and _can_be_written(tag, exif[tag]):
            kept[tag] = exif[tag]
    for directory in (_EXIF, _GPS):
        values = exif.get_ifd(directory)
        fitting = {tag: value for tag, value in values.items() if _can_be_written(directory, {tag: value})}
        if fitting:
            kept[directory] = fitting
    return kept.tobytes() if len(kept) else b""


def _can_be_written(tag: int, value: Any) -> bool:
    probe = Image.Exif()
    probe[tag] = value
    try:
        return bool(probe.tobytes())
    except _RAISED:
        return False


def _icc_of(image: Image.Image) -> bytes:
    """The colour profile, where it is one of RGB as the pixels now are."""
    icc = image.info.get("icc_profile")
    is_rgb = isinstance(icc, bytes) and icc[16:20] == b"RGB " and icc[36:40] == b"acsp"
    return bytes(icc) if is_rgb and icc else b""


def _dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Across and down the upright picture."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
        turned = int(image.getexif().get(_ORIENTATION, 1)) in (5, 6, 7, 8)
    except _RAISED:
        return None
    if not all(math.isfinite(value) and 0 < value <= _LARGEST_DPI for value in (across, down)):
        return None
    return (down, across) if turned else (across, down)
