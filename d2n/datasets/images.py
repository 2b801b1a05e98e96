"""Images of a data set: which names, what is checked of them once, how one is written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from d2n.datasets.jpeg import end_of_jpeg
from d2n.errors import ImageError
from d2n.files.writing import write_bytes
from d2n.pixels import DAMAGED, decode_rgb, load_rgb, open_rgb, opened, orientation, read, reason

__all__ = ["IMAGE_SUFFIXES", "check_image", "decode_rgb", "image_size", "load_rgb", "open_rgb", "save_rgb"]

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".gif",
)
_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".gif": "GIF",
}


def image_size(path: str | Path, *, turn: bool = True) -> tuple[int, int]:
    """(width, height) after orientation unless ``turn`` is off, from the header alone; ImageError as of load_rgb."""
    image = opened(read(path), str(path))
    width, height = image.size
    return (height, width) if turn and orientation(image) >= 5 else (width, height)


def check_image(content: bytes, name: str, check_suffix: bool = True) -> tuple[int, int]:
    """(width, height) after orientation of an image that decodes to its end; ImageError else.

    JPEGs are decoded at 1/8 of their size: every byte is read all the same. ``check_suffix`` also refuses a
    name that claims another format than the bytes have.
    """
    image = opened(content, name)
    width, height = image.size
    claimed = _FORMAT_OF_SUFFIX.get(Path(name).suffix.lower())
    found = "JPEG" if image.format == "MPO" else image.format
    if check_suffix and claimed is not None and claimed != found:
        raise ImageError(f"{name}: holds {found}, its name says {claimed}; rename it or convert it")
    # Without its end marker a JPEG may still decode: the last bytes alone are gone.
    if found == "JPEG" and end_of_jpeg(content) is None:
        raise ImageError(f"{name}: truncated or damaged (no end marker); download it again")
    try:
        image.draft(None, (1, 1))
        image.load()
        turned = orientation(image) >= 5
    except DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({reason(error)}); download it again") from error
    return (height, width) if turned else (width, height)


def save_rgb(array: np.ndarray, path: str | Path, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 in the format that the suffix names, whole or not at all.

    Raises ImageError for another shape, dtype or an unknown suffix.
    """
    path = Path(path)
    form = format_of(path)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"{path}: cannot write {array.dtype} {array.shape}, expected uint8 (H, W, 3)")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, form, quality=quality)
    write_bytes(path, buffer.getvalue(), durable=True)


def format_of(path: Path) -> str:
    """The format, as Pillow names it, that the suffix names; ImageError where it names none."""
    form = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path}: cannot write suffix {path.suffix!r}, expected one of {', '.join(IMAGE_SUFFIXES)}"
        )
    return form
