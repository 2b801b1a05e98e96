"""The one reader of .mat files (MATLAB's level 5): a struct of cells, texts and numbers, of bounded size.

The tree of elements is walked first: what it says of its sizes is held against the bytes that are there, and
only what was walked, unpacked, is handed to scipy.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from d2n.errors import D2NError
from d2n.files.reading import read_bytes, reason

MAX_BYTES = 256 * 2**20
MAX_UNPACKED_BYTES = 512 * 2**20
MAX_ARRAYS = 2_000_000
MAX_DEPTH = 8

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_CELL, _STRUCT, _CHAR = 1, 2, 4  # classes of arrays
_NUMBERS = range(6, 16)
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def read_mat(
    path: str | Path, name: str, error: type[D2NError], absent: str = "no such file"
) -> Mapping[str, Any]:
    """The fields of the 1 x 1 struct ``name`` as numpy arrays; ``error``, beginning with the path, else."""
    from scipy.io import loadmat

    content = read_bytes(path, error, at_most=MAX_BYTES, absent=absent)
    try:
        plain = io.BytesIO(_Walk(content).plain())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variables that stand twice
            fields = loadmat(plain, variable_names=[name])[name]
        return {field: fields[field][0, 0] for field in fields.dtype.names}
    except Exception as problem:
        if not isinstance(problem, _DAMAGED) and "scipy" not in type(problem).__module__:
            raise
        said = f"{type(problem).__name__}: {reason(problem)}"
        raise error(f"{path}: no {name} can be read ({said}); download it again") from problem


class _Walk:
    """A file's elements, looked at once."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.arrays = 0
        order = content[126:128]
        if len(content) < _HEADER or order not in (b"IM", b"MI"):
            raise ValueError("not a .mat file of level 5")
        self.order = "<" if order == b"IM" else ">"

    def plain(self) -> bytes:
        """The file with its compressed elements unpacked; ValueError where sizes do not fit."""
        parts, room = [self.content[:_HEADER]], MAX_UNPACKED_BYTES
        for kind, body in self._elements(memoryview(self.content)[_HEADER:]):
            if kind == _COMPRESSED:
                unpacked = zlib.decompressobj().decompress(body, room)
                kind, body = next(self._elements(memoryview(unpacked)))
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind} where an array belongs")
            room -= len(body)
            if room <= 0:
                raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes once unpacked")
            self._check_array(body, 0)
            parts += [struct.pack(f"{self.order}II", _MATRIX, len(body)), bytes(body)]
        return b"".join(parts)

    def _elements(self, rest: memoryview) -> Iterator[tuple[int, memoryview]]:
        """(type, content) of each element; small ones keep their content in the second half of the tag."""
        while len(rest) >= 8:
            kind, length = struct.unpack(f"{self.order}II", rest[:8])
            if kind >> 16:
                kind, length, start, end = kind & 0xFFFF, kind >> 16, 4, 8
                if length > 4:
                    raise ValueError(f"a small element of {length} bytes")
            else:
                start, end = 8, 8 + length + (-length % 8 if kind != _COMPRESSED else 0)
            if start + length > len(rest):
                raise ValueError(f"an element of {length} bytes where {len(rest) - start} are left")
            yield kind, rest[start : start + length]
            rest = rest[end:]

    def _check_array(self, body: memoryview, depth: int) -> None:
        self.arrays += 1
        if self.arrays > MAX_ARRAYS or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_ARRAYS} arrays, or nested more than {MAX_DEPTH} deep")
        if not len(body):
            return
        elements = self._elements(body)
        (_, flags), (_, sides), _name = next(elements), next(elements), next(elements)
        kind = struct.unpack(f"{self.order}I", flags[:4])[0] & 0xFF
        shape = struct.unpack(f"{self.order}{len(sides) // 4}i", sides)
        count = math.prod(shape)
        if min(shape, default=-1) < 0 or len(shape) > 8:
            raise ValueError(f"an array of shape {shape}")
        if kind == _STRUCT:
            (_, length), (_, names) = next(elements), next(elements)
            count *= len(names) // max(1, struct.unpack(f"{self.order}i", length[:4])[0])
        if kind in (_CELL, _STRUCT):
            self._check_inner(elements, count, len(body), depth)
        elif kind == _CHAR or kind in _NUMBERS:
            _, values = next(elements)
            if count > max(len(values), 1):
                raise ValueError(f"an array of shape {shape} in {len(values)} bytes")
        else:
            raise ValueError(f"an array of class {kind}")

    def _check_inner(
        self, elements: Iterator[tuple[int, memoryview]], count: int, size: int, depth: int
    ) -> None:
        if count > size // 8:
            raise ValueError(f"{count} cells in {size} bytes")
        for _ in range(count):
            kind, body = next(elements)
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind} where an array belongs")
            self._check_array(body, depth + 1)
