"""Image files to pixels: what may be opened, how large it may declare itself, upright, RGB; and to tensors and back.

Torch is imported where a tensor is asked for.
"""

from __future__ import annotations

import io
import logging
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from d2n.errors import ImageError
from d2n.files import mirror

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MAX_PIXELS = 80_000_000
"""Larger images are refused before they are decoded; Pillow itself warns from 89 million on."""

MAX_BYTES = 1 << 30
"""Larger files are refused before they are read: more than an uncompressed image of MAX_PIXELS takes."""

# The most pixels that a byte of an image may stand for. An even grey PNG has about a thousand, a photograph a hundred
# at most: a small file that declares far more is damaged or a trap. Not asked where the pixels are no burden.
_PIXELS_A_BYTE, _NO_BURDEN_PIXELS = 2_000, 16_000_000
_STRIP_ROWS = 256

# Not Pillow's whole list: EPS, for one, would start another program. JPEG also opens MPO, which has no opener itself.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
# What Pillow's decoders raise on damaged bytes
DAMAGED = (
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
# Metadata that Pillow finds odd (EXIF cut short, a second image that is not there) does not concern the pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Tiff|Mpo|Jpeg)ImagePlugin")


def load_rgb(
    path: str | Path, shrink_to_px: int | None = None, max_pixels: int = MAX_PIXELS, *, turn: bool = True
) -> np.ndarray:
    """The image at ``path``, (H, W, 3) uint8 RGB, EXIF orientation applied unless ``turn`` is off.

    Grey, palette, CMYK and 16-bit images become RGB; alpha is dropped. With ``shrink_to_px`` a large JPEG may
    be decoded at 1/2, 1/4 or 1/8 of its size, never under ``2 * shrink_to_px`` on the shorter side.
    Raises ImageError, beginning with the path, for whatever is not a whole image, in a regular file, that declares
    at most ``max_pixels``: the declared size is looked at before anything is decoded.
    """
    return np.asarray(open_rgb(path, shrink_to_px, max_pixels, turn=turn))


def open_rgb(
    path: str | Path, shrink_to_px: int | None = None, max_pixels: int = MAX_PIXELS, *, turn: bool = True
) -> Image.Image:
    """As load_rgb, a decoded Pillow image in mode RGB."""
    return decode_rgb(read(path), str(path), shrink_to_px, max_pixels, turn=turn)


def decode_rgb(
    content: bytes,
    name: str,
    shrink_to_px: int | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    turn: bool = True,
) -> Image.Image:
    """As open_rgb, from the file's bytes; ``name`` begins the error."""
    image = opened(content, name, max_pixels)
    try:
        if shrink_to_px is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (2 * shrink_to_px, 2 * shrink_to_px))
        image.load()
        return _oriented(_to_rgb(image), orientation(image) if turn else 1)
    except DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({reason(error)}); download it again") from error


def read(path: str | Path, name: str | None = None) -> bytes:
    """The bytes of an image file; ImageError, which begins with ``name`` or the path, for what cannot be one.

    A pipe would be waited for, and a device may never end: only regular files of at most MAX_BYTES are read.
    """
    name = str(path) if name is None else name
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name}: is {_kind(status.st_mode)}, expected an image file; take it away")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"{name}: holds {status.st_size:,} bytes, at most {MAX_BYTES:,} are read; shrink it"
            )
        return Path(path).read_bytes()
    except FileNotFoundError:
        return _mirrored(Path(path), name)
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or reason(error)
        raise ImageError(f"{name}: cannot be read ({said})") from error


def _mirrored(path: Path, name: str) -> bytes:
    """A file that is not here: from the URL that its folder mirrors, else ImageError."""
    try:
        found = mirror.content(path)
    except OSError as error:
        raise ImageError(f"{name}: cannot be fetched ({error.strerror})") from error
    if found is None:
        said = "a link that leads to no file" if path.is_symlink() else "no such file"
        raise ImageError(f"{name}: {said}")
    if len(found) > MAX_BYTES:
        raise ImageError(f"{name}: holds {len(found):,} bytes, at most {MAX_BYTES:,} are read; shrink it")
    return found


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def opened(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image with its header read and the size that it declares within bounds; nothing is decoded yet."""
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
    except DAMAGED as error:
        raise ImageError(f"{name}: truncated or damaged ({reason(error)}); download it again") from error
    _require_bounded(image, len(content), name, max_pixels)
    return image


def _require_bounded(image: Image.Image, num_bytes: int, name: str, max_pixels: int) -> None:
    pixels, size = image.width * image.height, f"{image.width} x {image.height}"
    if pixels > max_pixels:
        raise ImageError(f"{name}: declares {size}, at most {max_pixels:,} pixels are decoded; shrink it")
    if pixels > max(_NO_BURDEN_PIXELS, num_bytes * _PIXELS_A_BYTE):
        raise ImageError(
            f"{name}: declares {size} pixels in {num_bytes:,} bytes, at most {_PIXELS_A_BYTE:,} pixels a byte are "
            "decoded; it is damaged: download it again"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("P", "PA"):  # by way of RGBA: a palette may name its transparent colour in bytes
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """(H, W) of 16 or 32 bits to uint8: 65535 or 1.0 become 255, values already within 0-255 stay.

    Strip by strip: the wider numbers in between would take eight times the image.
    """
    strips = [slice(top, top + _STRIP_ROWS) for top in range(0, len(grey), _STRIP_ROWS)]
    largest = max((np.nan_to_num(grey[strip]).max(initial=0) for strip in strips), default=0)
    if grey.dtype.kind == "f":
        scale = 255.0 if largest <= 1 else 1.0
    else:
        scale = 1 / 257 if grey.dtype.itemsize == 2 or largest > 255 else 1.0
    out = np.empty(grey.shape, np.uint8)
    for strip in strips:
        out[strip] = np.clip(np.rint(np.nan_to_num(grey[strip]) * scale), 0, 255)
    return out


def orientation(image: Image.Image) -> int:
    """1 to 8 of the EXIF standard; whatever else stands there, or cannot be read, is taken as upright."""
    try:
        found = int(image.getexif().get(0x0112, 1))
    except (*DAMAGED, ZeroDivisionError, AttributeError, UserWarning):
        logger.debug("EXIF of an image cannot be read; taken as upright")
        return 1
    return found if found in _TURNS else 1


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def reason(error: BaseException) -> str:
    """What a decoder said, short."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:120]


def signed_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """(…, H, W, 3) uint8 to (…, 3, H, W) float32 in [-1, 1], as generators take them."""
    import torch

    writable = np.require(images, requirements=["C", "W"])  # torch warns of memory that it may not write to
    return torch.from_numpy(writable).movedim(-1, -3).float() / 127.5 - 1


def unit_tensor(images: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [0, 1], as retrieval networks take them."""
    import torch

    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)


def to_uint8(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(…, 3, H, W) in [-1, 1] to (…, H, W, 3) uint8, rounded (truncation would darken 63 of the 256 levels)."""
    import torch

    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()
