"""Decoded images kept on disk, so that an epoch after the first reads pixels instead of decoding."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from d2n.datasets.images import write_atomically

logger = logging.getLogger(__name__)


class DecodedCache:
    """A folder of uint8 arrays by name, of at most ``max_mb``; 0 keeps nothing.

    What is full stays full: an epoch reads every image once, so evicting would only churn. Names come from the
    bytes' sha256, so that several sets and runs share a folder. Reads are memory maps: a crop reads its own rows.
    """

    def __init__(self, folder: Path, max_mb: float) -> None:
        self.folder = folder
        self._budget = int(max_mb * 2**20)
        self._free = self._budget - _size_bytes(folder) if self._budget else 0

    def split(self, num_workers: int) -> None:
        """Leave this process its part of what is free, so that all workers together stay within the bound."""
        self._free //= max(1, num_workers)

    def get(self, name: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The array kept under ``name``, else what ``decode`` returns, kept while there is room."""
        if not self._budget:
            return decode()
        path = self.folder / name[:2] / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]  # untyped for mmap
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError):
            logger.warning("%s: a damaged entry of the cache is made again", path)
        array = decode()
        if array.nbytes + 128 <= self._free:
            self._keep(path, array)
        return array

    def _keep(self, path: Path, array: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        try:
            write_atomically(path, buffer.getvalue())
            self._free -= buffer.tell()
        except OSError as error:
            logger.warning("%s: the cache takes no more (%s)", self.folder, error.strerror)
            self._free = 0


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/d2n/images``, else ``~/.cache/d2n/images``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "d2n" / "images"


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.npy")) if folder.is_dir() else 0
