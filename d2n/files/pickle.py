"""The one reader of pickles: numpy arrays and plain values, without running what they name, of bounded size.

Written for the annotations of published data sets. The interpreter is Python's own (the C one allocates what a
file of a few bytes asks for); every array and scalar is held against the bytes that are there before it is made.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from d2n.errors import D2NError, DataError
from d2n.files.nesting import is_container, nesting_problem, parts
from d2n.files.reading import brief, one_line, read_bytes, reason

MAX_BYTES = 256 * 2**20
MAX_STEPS = 20_000_000  # Retrieval-SfM 120k takes about three million
MAX_VALUES = 20_000_000  # with every shared part written out

DAMAGED = (
    pickle.PickleError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading a damaged pickle raises, depending on where the damage is."""

_PLAIN = (str, int, float, bool, type(None), np.generic)
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|O8?|S\d{1,7}|U\d{1,6})")


def read_pickle(path: str | Path, error: type[D2NError] = DataError, absent: str = "no such pickle") -> Any:
    """The values of a pickle made of numpy arrays and scalars, list, dict, tuple, str, int, float, bool and None.

    Anything else is refused by its class name before it is built. ``error`` begins with the path.
    """
    content = read_bytes(path, error, at_most=MAX_BYTES, absent=absent)
    try:
        values = _Reader(content).load()
    except _RefusedError as problem:
        raise error(
            f"{path}: refused, it names {problem}; only numpy arrays and plain values are read"
        ) from None
    except DAMAGED as problem:
        said = f"{type(problem).__name__}: {reason(problem)}"
        raise error(f"{path}: not a whole pickle ({said}); download it again") from problem
    if problem_found := nesting_problem(values, max_values=MAX_VALUES):
        raise error(f"{path}: refused, it holds {problem_found}")
    _check_plain(values, path, error)
    return values


class _RefusedError(Exception):
    """A class or function that the pickle asked for."""


class _Array(np.ndarray):
    """An array whose bytes are counted before it takes its shape."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        kind = _made(dtype)
        _check_size(shape, kind, content)
        super().__setstate__((1, tuple(shape), kind, bool(fortran), content))  # type: ignore[arg-type]  # np.bool there


class _Dtype:
    """A dtype by its name and byte order: never a structured one."""

    def __init__(self, name: Any) -> None:
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise _RefusedError(f"the dtype {brief(name, 40)}")
        self.made = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {brief(order, 20)}")
        self.made = self.made.newbyteorder(order)


def _made(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise TypeError("an array without a dtype")
    return dtype.made


def _check_size(shape: Any, kind: np.dtype[Any], content: Any) -> None:
    count = 1
    for side in shape:
        if isinstance(side, bool) or not isinstance(side, int) or side < 0:
            raise ValueError(f"an array with a side of {brief(side, 20)}")
        count *= side
    if len(shape) > 32 or not isinstance(content, list if kind.hasobject else bytes | bytearray | str):
        raise TypeError(f"an array of {kind} made from a {type(content).__name__}")
    if len(content) != (count if kind.hasobject else count * kind.itemsize):
        raise ValueError(f"an array of {kind} {tuple(shape)} in {len(content)} bytes")


def _reconstruct(kind: Any, shape: Any, _typecode: Any) -> np.ndarray:
    if kind is not _NDARRAY or shape != (0,):  # numpy writes an empty array, then its state
        raise ValueError("an array that does not begin empty")
    return np.ndarray.__new__(_Array, (0,), dtype="b")


def _scalar(dtype: Any, content: Any = None) -> Any:
    kind = _made(dtype)
    if kind.hasobject:
        raise _RefusedError("an object as a numpy scalar")
    raw = content.encode("latin1") if isinstance(content, str) else content
    _check_size((), kind, raw)
    return np.frombuffer(raw, kind)[0]


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, *_axes: Any) -> np.ndarray:
    kind = _made(dtype)
    if kind.hasobject:
        raise _RefusedError("objects in a buffer")
    _check_size(shape, kind, content)
    return np.frombuffer(content, kind).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise _RefusedError(f"the codec {brief(codec, 20)}")
    return text.encode("latin1")


def _dtype(name: Any, *_align_copy: Any) -> _Dtype:
    return _Dtype(name)


_NDARRAY = object()  # named by arrays as their class; calling it is no way to make one

# What numpy's own pickles name, before and after numpy 2 renamed its core.
_NAMES: dict[tuple[str, str], Any] = {
    **{
        (f"numpy.{core}.multiarray", name): made
        for core in ("core", "_core")
        for name, made in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


_Interpreter: Any = pickle._Unpickler  # Python's own; of its parts the stubs know none


class _Reader(_Interpreter):  # type: ignore[misc]  # as above
    """Python's own interpreter of pickles, with its steps counted and what it may build named."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_Interpreter.dispatch)

    def __init__(self, content: bytes) -> None:
        super().__init__(_Counted(content), encoding="latin1")
        self._size = len(content)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _RefusedError(one_line(f"{module}.{name}"))
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"the persistent object {brief(pid, 40)}")

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], _Array | _Dtype):
            raise ValueError(f"the state of a {type(self.stack[-2]).__name__}")
        super().load_build()

    def load_frame(self) -> None:
        self.read(8)  # frames only say what may be read ahead; without them every step is counted

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        if length > self._size:
            raise ValueError(f"{length} bytes in a file of {self._size}")
        content = bytearray(self.read(length))
        if len(content) < length:
            raise EOFError
        self.append(content)

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


class _Counted(io.BytesIO):
    """Bytes whose reads are counted: each step of the interpreter reads at least once."""

    steps = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS} steps")
        return super().read(size)


def _check_plain(values: Any, path: str | Path, error: type[D2NError]) -> None:
    """Sets, bytes and the like need no class to be looked up, so that they are found only here."""
    seen: set[int] = set()
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        if is_container(value):
            stack += parts(value)
        elif not isinstance(value, np.ndarray):
            name = f"{type(value).__module__}.{type(value).__name__}"
            raise error(f"{path}: refused, it holds {name}; only numpy arrays and plain values are read")
