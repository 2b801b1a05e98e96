"""The one reader of .npz archives: named arrays of plain numbers, no larger than the file or a bound says."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2n.errors import D2NError
from d2n.files.reading import read_bytes, reason

MAX_BYTES = 4 * 2**30
_MAX_PACKING = 64  # features hardly pack at all
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    NotImplementedError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
)


def read_npz(
    path: str | Path,
    names: Sequence[str],
    error: type[D2NError],
    absent: str,
    damaged: str = "not a whole .npz archive",
) -> dict[str, Any]:
    """The arrays of ``names`` that are there; ``error``, beginning with the path, for what is no archive.

    Nothing is unpickled. An array is read only where its header's shape fits the bytes that are there.
    """
    content = read_bytes(path, error, at_most=MAX_BYTES, absent=absent)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            there = {info.filename: info for info in archive.infolist()}
            return {
                name: _array(archive, there[f"{name}.npy"], len(content))
                for name in names
                if f"{name}.npy" in there
            }
    except _DAMAGED as problem:
        raise error(f"{path}: {damaged} ({reason(problem)})") from problem


def json_text(array: Any) -> Any:
    """The JSON that stands in an array of one text; ValueError where it is none."""
    if not isinstance(array, np.ndarray) or array.ndim or array.dtype.kind != "U":
        raise ValueError("the provenance is no text")
    try:
        return json.loads(str(array))
    except RecursionError:
        raise ValueError("the provenance is nested too deep") from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> np.ndarray:
    if info.file_size > _MAX_PACKING * size + 2**20:
        raise ValueError(f"{info.filename} unpacks to {info.file_size} bytes out of {size}")
    payload = archive.read(info)
    stream = io.BytesIO(payload)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject or np.prod(shape, dtype=object) * dtype.itemsize > len(payload):
        raise ValueError(f"{info.filename} says {dtype} {shape} in {len(payload)} bytes")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
