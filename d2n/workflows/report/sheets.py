"""Sample sheets taken apart: rows of pictures, as they were put together when a run logged them."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2n.errors import D2NError

Picture = npt.NDArray[np.uint8]  # (S, S, 3)
GAP = 2  # white pixels between the pictures of a sheet


@dataclass(frozen=True)
class Sheet:
    """The rows of a sheet: day, fake night, and what else its translator shows."""

    rows: tuple[tuple[Picture, ...], ...]

    @property
    def day(self) -> tuple[Picture, ...]:
        """What was translated."""
        return self.rows[0]

    @property
    def night(self) -> tuple[Picture, ...]:
        """What came of it."""
        return self.rows[1] if len(self.rows) > 1 else ()


def take_apart(content: bytes, side_px: int, num_rows: int | None = None) -> Sheet:
    """A sheet of square pictures; without ``num_rows`` 2 or 3, as its shape says. D2NError where it is none."""
    pixels = read_rgb(content)
    height, width = pixels.shape[:2]
    down, across = (height + GAP) / (side_px + GAP), (width + GAP) / (side_px + GAP)
    if side_px < 1 or down != int(down) or across != int(across):
        raise D2NError(f"a sheet of {width} x {height} pixels is none of pictures of {side_px} a side")
    down, across = int(down), int(across)
    choices = [num_rows] if num_rows else [rows for rows in (2, 3, 1) if down % rows == 0]
    fitting = [rows for rows in choices if down % rows == 0 and _is_laid_out(down // rows, across, rows)]
    if not fitting:
        raise D2NError(f"a sheet of {down} rows and {across} columns of pictures is none that a run logs")
    rows = fitting[0]
    bands = down // rows
    tiles = [[_tile(pixels, side_px, y, x) for x in range(across)] for y in range(down)]
    joined = [[tile for band in range(bands) for tile in tiles[band * rows + row]] for row in range(rows)]
    count = max((i + 1 for i, tile in enumerate(joined[0]) if not _is_white(tile)), default=0)
    return Sheet(tuple(tuple(row[:count]) for row in joined))


def read_rgb(content: bytes) -> Picture:
    """The pixels of an image file, (H, W, 3); D2NError where it is none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise D2NError(f"an image cannot be read ({error})") from error


def encode(pixels: Picture, form: str = "png", **options: Any) -> bytes:
    """An image file of pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _is_laid_out(bands: int, across: int, rows: int) -> bool:
    """Whether a run lays so many bands out for some number of pictures that fills these columns."""
    least, most = (bands - 1) * across + 1, bands * across
    return any(_layout(count, rows) == (bands, across) for count in range(least, most + 1))


def _layout(count: int, rows: int) -> tuple[int, int]:
    """Bands and columns of `count` pictures, as d2n.workflows.recording.sample_sheet chooses them."""
    bands = max(1, round(math.sqrt(count / rows)))
    across = -(-count // bands)
    return -(-count // across), across


def _tile(pixels: Picture, side_px: int, y: int, x: int) -> Picture:
    top, left = y * (side_px + GAP), x * (side_px + GAP)
    return pixels[top : top + side_px, left : left + side_px]


def _is_white(tile: Picture) -> bool:
    return bool((tile == 255).all())
