"""A stored model without its weights, kept in this process for the next network of the same structure.

A program is made of a network's structure alone: its weights lie beside it in the archive as raw bytes. So the second
generator of a structure is not exported again, which takes seconds and leaves about a megabyte in torch's caches each
time; its weights are poured into what the first left, and the archive is the one that an export would have made.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import types
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from d2n.tracking.models import archive, description

_MOST = 8  # structures that are kept, the latest
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_OF_TORCH = {"dtype", "device", "layout", "memory_format"}
_SEEN_OTHERWISE = {"_parameters", "_buffers", "_modules"}


class _UnknownError(Exception):
    """Something of a network that may be in its program and cannot be told by its text."""


@dataclass(frozen=True)
class Mould:
    """A model's folder: its archive's members, empty where weights go, its other files, and the weights' names."""

    members: Mapping[str, bytes]
    weights: Mapping[str, str]  # of a member its name in the network's state
    files: Mapping[str, bytes]
    extra_bytes: int  # of the first network's extra files

    @classmethod
    def of(cls, folder: Path) -> Mould:
        """From the folder of a model that was exported, with no trace of this machine."""
        members = archive.bare_members(folder / description.EXPORTED)
        entries = json.loads(members[archive.WEIGHTS])["config"]
        above = archive.WEIGHTS.rpartition("/")[0]
        weights = {f"{above}/{entry['path_name']}": name for name, entry in entries.items()}
        extra = folder / description.EXTRA_FILES
        return cls(
            members={name: b"" if name in weights else content for name, content in members.items()},
            weights=weights,
            files={path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()},
            extra_bytes=sum(path.stat().st_size for path in extra.iterdir()) if extra.is_dir() else 0,
        )

    def pour(
        self, module: Any, folder: Path, extra_files: Sequence[Path], metadata: Mapping[str, Any]
    ) -> None:
        """The new folder of another network of that structure."""
        from mlflow.models import Model

        (folder / description.EXPORTED).parent.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        state = module.state_dict()
        members = {**self.members, **{member: _raw(state[name]) for member, name in self.weights.items()}}
        if archive.IDENTITY in members:
            members[archive.IDENTITY] = _identity(members[member] for member in self.weights)
        archive.write(members, folder / description.EXPORTED)
        for file in extra_files:
            target = folder / description.EXTRA_FILES / file.name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
        described = Model.load(str(folder / description.DESCRIPTION))
        described.metadata = dict(metadata) or None
        described.utc_time_created = str(datetime.now(UTC).replace(tzinfo=None))
        if described.model_size_bytes:
            described.model_size_bytes += sum(one.stat().st_size for one in extra_files) - self.extra_bytes
        described.save(str(folder / description.DESCRIPTION))


@dataclass
class Moulds:
    """The latest, by what they are for."""

    _kept: OrderedDict[Hashable, Mould] = field(default_factory=OrderedDict)

    def get(self, key: Hashable | None) -> Mould | None:
        """The mould of a key, if it is kept."""
        if key is None or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: Hashable | None, folder: Path) -> None:
        """Keep that of a folder; nothing without a key."""
        if key is not None:
            self._kept[key] = Mould.of(folder)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)


def key_of(
    module: Any,
    example: np.ndarray,
    output_shape: Sequence[int],
    extra_files: Sequence[Path],
    requirements: Sequence[str],
) -> Hashable | None:
    """What two models share that differ in weights, metadata and what their extra files hold.

    None where that cannot be told: such a model is exported each time.
    """
    names = tuple(file.name for file in extra_files)
    if sys.byteorder != "little" or not all(_PLAIN_NAME.fullmatch(name) for name in names):
        return None
    try:
        return structure(module), example.shape, tuple(output_shape), names, tuple(requirements)
    except _UnknownError:
        return None


def structure(module: Any) -> str:
    """A sum of all that a network's program can depend on: classes, their plain attributes, shapes, what is shared."""
    lines = []
    for name, one in module.named_modules(remove_duplicate=False):
        plain = {key: value for key, value in vars(one).items() if key not in _SEEN_OTHERWISE}
        lines.append(f"{name} {_told(type(one))} {_told(plain)} {list(one._modules)}")
    state, first = module.state_dict(), dict[int, str]()
    tensors = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in tensors:
        _require_raw(tensor)
        shared = first.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        fixed = "" if name in state else hashlib.sha256(_raw(tensor)).hexdigest()  # it is in the program
        shape = tuple(tensor.shape)
        told = (_told(type(tensor)), shape, tensor.dtype, tensor.requires_grad, shared, fixed)
        lines.append(f"{name} {told}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _told(value: Any) -> str:
    """A plain value as text; _UnknownError for anything else."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, Mapping):
        return f"map [{', '.join(f'{_told(key)}: {_told(inner)}' for key, inner in value.items())}]"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} [{', '.join(map(_told, value))}]"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__} {sorted(map(_told, value))}"
    if type(value).__module__ == "torch" and type(value).__name__ in _OF_TORCH:
        return str(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.FunctionType) and value.__closure__ is None and "<" not in value.__qualname__:
        return f"{value.__module__}.{value.__qualname__}"
    raise _UnknownError(type(value).__name__)


def _require_raw(tensor: Any) -> None:
    """_UnknownError unless an archive holds the tensor as nothing but its values in their order."""
    whole = tensor.numel() * tensor.element_size()
    if not tensor.is_contiguous() or tensor.storage_offset() or tensor.untyped_storage().nbytes() != whole:
        raise _UnknownError("a view")


def _raw(tensor: Any) -> bytes:
    try:
        return bytes(tensor.detach().numpy().tobytes())
    except (TypeError, RuntimeError) as error:  # a type that numpy has not, a tensor of no memory
        raise _UnknownError(str(error)) from error


def _identity(weights: Any) -> bytes:
    """40 digits, as torch tells archives apart."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in weights))
    return str(int(digest.hexdigest(), 16)).zfill(40)[-40:].encode()
