"""The one reader of weights files: .safetensors and torch's own, without unrestricted pickle, of bounded memory.

What is read takes no more memory than the file has bytes: nothing packed, no tensor that is larger than what
is stored of it.
"""

from __future__ import annotations

import codecs
import pickle
import re
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from d2n.errors import D2NError, WeightsError
from d2n.files.nesting import nesting_problem, parts
from d2n.files.reading import brief, check_file, read_bytes, reason

MAX_BYTES = 16 * 2**30
_MAX_VALUES = 5_000_000  # besides the tensors' own
_MAX_DEPTH = 32
_HEADER_BYTES = 64 * 2**20

_multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]  # absent from the stubs

# What torch's and safetensors' readers raise on damaged bytes, depending on where the damage is.
DAMAGE = (
    pickle.UnpicklingError,
    SafetensorError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)

# What numpy arrays and numbers in a checkpoint's metadata unpickle to, by the names of numpy 1 and 2.
_NUMPY_GLOBALS: list[Any] = [
    np.ndarray,
    np.dtype,
    type(np.dtype(np.float32)),
    type(np.dtype(np.float64)),
    type(np.dtype(np.int64)),
    (codecs.encode, "_codecs.encode"),
    *((_multiarray._reconstruct, f"numpy.{c}.multiarray._reconstruct") for c in ("core", "_core")),
    *((_multiarray.scalar, f"numpy.{c}.multiarray.scalar") for c in ("core", "_core")),
]


_REFUSED = re.compile(r"Unsupported (?:global|class|operand): (?:GLOBAL )?([\w.]{1,100})")


def read_weights_file(
    path: str | Path,
    absent: str = "no such weights file",
    damaged: str = "not a weights file that can be read safely",
    *,
    error: type[D2NError] = WeightsError,
) -> Any:
    """What a .safetensors or a torch file holds, on the CPU; ``error``, beginning with the path, else.

    Tensors, numpy arrays and plain values in lists and mappings. ``absent`` is said of a file that is not there.
    """
    path = check_file(path, error, at_most=MAX_BYTES, absent=absent)
    try:
        if path.suffix == ".safetensors":
            return parse_safetensors(read_bytes(path, error, at_most=MAX_BYTES), str(path), error)
        stored = _stored_sizes(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMPY_GLOBALS):
            warnings.simplefilter("ignore")  # of formats that are refused right after
            content = torch.load(path, map_location="cpu", weights_only=True)
        _check_content(content, path.stat().st_size, stored)
    except DAMAGE as problem:
        raise error(f"{path}: {damaged} ({unread(problem)})") from problem
    return content


def unread(problem: BaseException) -> str:
    """Why torch did not read a file, without its advice to read it unsafely."""
    said = str(problem)
    if "weights_only" not in said:
        return reason(problem)
    found = _REFUSED.search(said)
    if found:
        return f"it holds {found[1]}, and tensors and plain values alone are read"
    return "no file that torch.save wrote, or more than tensors and plain values in it"


def parse_safetensors(payload: bytes, source: str, error: type[D2NError] = WeightsError) -> dict[str, Tensor]:
    """The tensors of a .safetensors file's bytes; ``source`` begins the error."""
    try:
        if len(payload) >= 8 and struct.unpack("<Q", payload[:8])[0] > min(len(payload), _HEADER_BYTES):
            raise ValueError("a header longer than the file")
        return load_safetensors(payload)
    except DAMAGE as problem:
        said = reason(problem)
        raise error(f"{source}: not a weights file that can be read safely ({said})") from problem


def state_dict(content: Any, source: str, error: type[D2NError] = WeightsError) -> dict[str, Tensor]:
    """``content`` where it is a mapping of names to real tensors; ``error``, beginning with ``source``, else."""
    if not isinstance(content, Mapping):
        raise error(f"{source}: holds {type(content).__name__}, expected a state dict of tensors")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.is_complex():
            found = type(value).__name__ if not isinstance(value, Tensor) else value.dtype
            raise error(
                f"{source}: holds {type(content).__name__}, expected a state dict of tensors by name "
                f"(found {brief(key, 40)}: {found})"
            )
    return dict(content)


def _stored_sizes(path: Path) -> Counter[int] | None:
    """Bytes of each part of a zip archive of torch's; None for the older format. ValueError where it is packed."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size = path.stat().st_size
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise ValueError("its parts are compressed, which torch does not do")
    if sum(one.file_size for one in members) > size:
        raise ValueError(f"its parts are said to be larger than the {size} bytes of the file")
    return Counter(one.file_size for one in members)


def _check_content(content: Any, size: int, stored: Counter[int] | None) -> None:
    """ValueError where a tensor is more than what is stored of it, or plain values are nested without end."""
    if problem := nesting_problem(content, max_values=_MAX_VALUES, max_depth=_MAX_DEPTH):
        raise ValueError(problem)
    storages: dict[int, int] = {}
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            raise ValueError(f"a tensor of layout {tensor.layout} on {tensor.device}")
        held = tensor.untyped_storage()
        if tensor.numel() * tensor.element_size() > held.nbytes():
            raise ValueError(f"a tensor of {tuple(tensor.shape)} of which {held.nbytes()} bytes are stored")
        storages[held.data_ptr()] = held.nbytes()
    found = Counter(nbytes for nbytes in storages.values() if nbytes)
    if found.total() and sum(n * count for n, count in found.items()) > size:
        raise ValueError(f"tensors of more than the {size} bytes of the file")
    if stored is not None and (alien := [n for n in found if n not in stored]):
        raise ValueError(f"a tensor of {alien[0]} bytes, and no part of the file has as many")


def _tensors(content: Any) -> list[Tensor]:
    """All tensors of nested values, once each; the nesting was found to be bounded."""
    found: list[Tensor] = []
    seen: set[int] = set()
    stack = [content]
    while stack:
        one = stack.pop()
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, list | tuple | dict) and id(one) not in seen:
            seen.add(id(one))
            stack += parts(one)
    return found
