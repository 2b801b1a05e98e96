"""Images in and out: decoded, oriented, turned to RGB; what is not an image refused by its path."""

from __future__ import annotations

import io
import logging
import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from d2n.errors import ImageError

logger = logging.getLogger(__name__)

MAX_PIXELS = 80_000_000
"""Larger images are refused before they are decoded; Pillow itself warns from 89 million on."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
# Not Pillow's whole list: EPS, for one, would start another program. JPEG also opens MPO, which has no opener itself.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".gif": "GIF",
}
# What Pillow's decoders raise on damaged bytes
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
# EXIF orientation 2-8, as the EXIF standard numbers them
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# An image that Pillow would warn of is refused here with its path; the warning line would say it twice.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def load_rgb(path: str | Path, shrink_to_px: int | None = None) -> np.ndarray:
    """The image at ``path``, (H, W, 3) uint8 RGB, EXIF orientation applied.

    Grey, palette, CMYK and 16-bit images become RGB; alpha is dropped. With ``shrink_to_px`` a large JPEG may
    be decoded at 1/2, 1/4 or 1/8 of its size, never under ``2 * shrink_to_px`` on the shorter side.
    Raises ImageError, beginning with the path, for whatever is not a whole image of at most MAX_PIXELS.
    """
    return np.asarray(open_rgb(path, shrink_to_px))


def open_rgb(path: str | Path, shrink_to_px: int | None = None) -> Image.Image:
    """As load_rgb, a decoded Pillow image in mode RGB."""
    return decode_rgb(_read(path), str(path), shrink_to_px)


def decode_rgb(content: bytes, name: str, shrink_to_px: int | None = None) -> Image.Image:
    """As open_rgb, from the file's bytes; ``name`` begins the error."""
    image = _opened(content, name)
    try:
        if shrink_to_px is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (2 * shrink_to_px, 2 * shrink_to_px))
        image.load()
        return _oriented(_to_rgb(image), _orientation(image))
    except _DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({_reason(error)}); download it again") from error


def check_image(content: bytes, name: str, check_suffix: bool = True) -> tuple[int, int]:
    """(width, height) after orientation of an image that decodes to its end; ImageError else.

    JPEGs are decoded at 1/8 of their size: every byte is read all the same. ``check_suffix`` also refuses a
    name that claims another format than the bytes have.
    """
    image = _opened(content, name)
    width, height = image.size
    claimed = _FORMAT_OF_SUFFIX.get(Path(name).suffix.lower())
    found = "JPEG" if image.format == "MPO" else image.format
    if check_suffix and claimed is not None and claimed != found:
        raise ImageError(f"{name}: holds {found}, its name says {claimed}; rename it or convert it")
    # Without its end marker a JPEG may still decode: the last bytes alone are gone.
    if image.format == "JPEG" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise ImageError(f"{name}: truncated or damaged (no end marker); download it again")
    try:
        image.draft(None, (1, 1))
        image.load()
        turned = _orientation(image) >= 5
    except _DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({_reason(error)}); download it again") from error
    return (height, width) if turned else (width, height)


def save_rgb(array: np.ndarray, path: str | Path, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 in the format that the suffix names, whole or not at all.

    Raises ImageError for another shape, dtype or an unknown suffix.
    """
    path = Path(path)
    form = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path}: cannot write suffix {path.suffix!r}, expected one of {', '.join(IMAGE_SUFFIXES)}"
        )
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"{path}: cannot write {array.dtype} {array.shape}, expected uint8 (H, W, 3)")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, form, quality=quality)
    write_atomically(path, buffer.getvalue())


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path`` and rename, so that no half-written file ever has the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({_reason(error)})") from error


def _opened(content: bytes, name: str) -> Image.Image:
    """The header read, the size within bounds."""
    if not content:
        raise ImageError(f"{name}: 0 bytes, expected an image; download it again")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: not an image (begins with {content[:12]!r}); {', '.join(FORMATS)} are read"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"{name}: declares too many pixels, at most {MAX_PIXELS:,} are decoded; shrink it"
        ) from None
    except _DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({_reason(error)}); download it again") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"{name}: declares {size}, at most {MAX_PIXELS:,} pixels are decoded; shrink it")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("P", "PA"):  # by way of RGBA: a palette may name its transparent colour in bytes
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """(H, W) of 16 or 32 bits to uint8: 65535 or 1.0 become 255, values already within 0-255 stay."""
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey)
        scale = 255.0 if grey.size and grey.max() <= 1 else 1.0
    else:
        scale = 1 / 257 if grey.dtype.itemsize == 2 or (grey.size and grey.max() > 255) else 1.0
    return np.clip(np.rint(grey * scale), 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except _DAMAGED:
        logger.debug("EXIF of an image cannot be read; taken as upright")
        return 1


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:120]
