"""Decoded images kept on disk, so that an epoch after the first reads pixels instead of decoding."""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2n.files.refusals import refusal
from d2n.files.writing import write_bytes

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<8sII")  # what it is, height, width; then H x W x 3 bytes
_MAGIC = b"d2n-rgb1"


class DecodedCache:
    """A folder of (H, W, 3) uint8 images by name, of at most ``max_mb``; 0 keeps nothing.

    What is full stays full: an epoch reads every image once, so evicting would only churn. Names come from the
    bytes' sha256, so that several sets and runs share a folder. Reads are memory maps: a crop reads its own rows.
    """

    def __init__(self, folder: Path, max_mb: float) -> None:
        self.folder = folder
        self._budget = int(max_mb * 2**20)
        self._free = self._budget - size_bytes(folder) if self._budget else 0

    def split(self, num_workers: int) -> None:
        """Leave this process its part of what is free, so that all workers together stay within the bound."""
        self._free //= max(1, num_workers)

    def get(self, name: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The image kept under ``name`` (read-only), else what ``decode`` returns, kept while there is room."""
        if not self._budget:
            return decode()
        path = self.folder / name[:2] / name
        try:
            return _mapped(path)
        except FileNotFoundError:
            pass
        except PermissionError:
            return decode()  # another user's: it stays as it is
        except (OSError, ValueError, struct.error):
            logger.warning("%s: a damaged entry of the cache is made again", path)
        image = decode()
        if image.nbytes + _HEADER.size <= self._free:
            self._keep(path, image)
        return image

    def _keep(self, path: Path, image: np.ndarray) -> None:
        content = _HEADER.pack(_MAGIC, *image.shape[:2]) + image.tobytes()
        try:
            write_bytes(path, content)
            self._free -= len(content)
        except OSError as error:
            logger.warning("%s: the cache takes no more (%s)", self.folder, refusal(error))
            self._free = 0


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/d2n/images``, else ``~/.cache/d2n/images``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "d2n" / "images"


def size_bytes(folder: Path) -> int:
    """What a cache folder holds."""
    return sum(_size(path) for path in folder.glob("*/*")) if folder.is_dir() else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # another user's, or gone since


def _mapped(path: Path) -> np.ndarray:
    """The image of a file; ValueError where the header and the length do not fit."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    magic, height, width = _HEADER.unpack_from(content)
    if magic != _MAGIC or len(content) != _HEADER.size + height * width * 3:
        raise ValueError("cut short")
    return np.frombuffer(content, np.uint8, offset=_HEADER.size).reshape(height, width, 3)
