"""Pickles and .mat files of the published sets, read without running what they name."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from d2n.errors import DataError

# What numpy's own pickles name, before and after numpy 2 renamed its core.
_NUMPY = {
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
_DAMAGED = (pickle.PickleError, EOFError, ValueError, LookupError, TypeError, AttributeError, ImportError,
            OverflowError, MemoryError, RecursionError)  # fmt: skip
_PLAIN = (str, int, float, bool, type(None), np.generic)


def load_pickle(path: Path) -> Any:
    """The values of a pickle made of numpy arrays and scalars, list, dict, tuple, str, int, float, bool and None.

    Anything else is refused by its class name before it is built. Raises DataError, beginning with the path.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such pickle") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        values = _Restricted(io.BytesIO(content), encoding="latin1").load()
    except _RefusedError as error:
        raise DataError(
            f"{path}: refused, it names {error}; only numpy arrays and plain values are read"
        ) from None
    except _DAMAGED as error:
        raise DataError(f"{path}: not a whole pickle ({type(error).__name__}); download it again") from error
    _check_plain(values, path)
    return values


class _RefusedError(Exception):
    """A class or function that the pickle asked for."""


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise _RefusedError(f"{module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError(f"the persistent object {pid!r}")


def _check_plain(values: Any, path: Path) -> None:
    """Sets, bytes and the like need no class to be looked up, so that they are found only here."""
    seen: set[int] = set()
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            stack += value
        elif isinstance(value, np.ndarray):
            stack += value.ravel().tolist() if value.dtype.hasobject else []
        else:
            name = f"{type(value).__module__}.{type(value).__name__}"
            raise DataError(f"{path}: refused, it holds {name}; only numpy arrays and plain values are read")
