"""The archive of a torch.export program (``model.pt2``): read as plain data, checked, and rewritten without pickles.

torch.export unpickles the example inputs, the tensors of subclasses and the objects that an archive holds; it also
evaluates its size expressions, looks up its operators by attribute and puts its names into generated code. So each
member, name, operator and expression is held against what a program of plain tensors has; anything else is refused.
Pure: nothing of the archive is run here, and torch is not needed.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n.errors import RegistryError
from d2n.files.json import MAX_BYTES, parse_json
from d2n.files.reading import brief, one_line
from d2n.tracking.models import program

PROGRAM, EXAMPLE = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONFIGS = (WEIGHTS, "data/constants/model_constants_config.json")
IDENTITY = ".data/serialization_id"  # of what it holds
_TEXTS = {
    "archive_format": rb"pt2",
    "archive_version": rb"[0-9]{1,3}",
    "byteorder": rb"little",
    ".data/version": rb"[0-9]{1,3}\n?",
    IDENTITY: rb"[0-9]{1,64}",
}
_REQUIRED = {"archive_format", "archive_version", PROGRAM, EXAMPLE, *CONFIGS}
_TENSOR = re.compile(r"data/(?:weights/weight|constants/tensor)_[0-9]+", re.ASCII)
_END = b"PK\x05\x06"  # of a zip without a comment: its last 22 bytes begin so
# ((0,), {}) as torch.save writes it: MLflow's strict mode and torch ask for an example, this one names nothing.
_NO_EXAMPLE = {"data.pkl": b"\x80\x02K\x00\x85}\x86.", "byteorder": b"little", "version": b"3\n"}
_TENSOR_GLOBALS = {"torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"}
_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass
class Archive:
    """What an archive holds, by its members' names without the root folder."""

    path: Path
    members: dict[str, bytes] = field(default_factory=dict)
    is_plain: bool = True  # no pickle of example inputs, no trace of the sources


def require_plain(path: Path) -> None:
    """RegistryError unless the archive is as d2n writes it: raw tensors, a program of tensor operators, no pickle."""
    archive = _read(path)
    if not archive.is_plain:
        raise RegistryError(f"{path}: holds a pickle ({EXAMPLE}) or the paths of sources: expected neither")


def is_plain(path: Path) -> bool:
    """Whether the archive is as d2n writes it today; RegistryError for one that could run code."""
    return _read(path).is_plain


def rewrite(source: Path, target: Path) -> None:
    """The same program without example inputs and without where it was traced; RegistryError as in require_plain."""
    write(bare_members(source), target)


def bare_members(path: Path) -> dict[str, bytes]:
    """What an archive holds, without example inputs and without where it was traced; RegistryError as above.

    The example inputs that torch.export and MLflow put there are a pickle of tensors: it is not read, only held
    against the names that such a pickle has.
    """
    return {**_read(path).members, EXAMPLE: _no_example()}


def write(members: Mapping[str, bytes], target: Path) -> None:
    """An archive of these members, in their order."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}", _STAMP), content)


def _read(path: Path) -> Archive:
    archive = Archive(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - 22))
            if not file.read().startswith(_END):
                raise RegistryError(f"{path}: not a whole archive of a torch.export program")
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
            _check_directory(path, infos, size)
            root = infos[0].filename.partition("/")[0]
            for info in infos:
                name = info.filename.removeprefix(f"{root}/")
                if name == info.filename or name in archive.members:
                    raise RegistryError(
                        f"{path}: holds {brief(info.filename)} beside its one folder, or twice"
                    )
                archive.members[name] = opened.read(info)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise RegistryError(
            f"{path}: not an archive of a torch.export program ({one_line(str(error))})"
        ) from error
    _check_members(archive)
    return archive


def _check_directory(path: Path, infos: list[zipfile.ZipInfo], size: int) -> None:
    """One archive and nothing beside it: every byte is stored as it is, and no reader can see another one."""
    if not infos or min(info.header_offset for info in infos) != 0:
        raise RegistryError(f"{path}: does not begin with its first member: expected an archive alone")
    if len({info.filename.lower() for info in infos}) != len(infos):
        raise RegistryError(f"{path}: holds a member twice")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size > size:
            raise RegistryError(
                f"{path}: {brief(info.filename)} is compressed or encrypted: expected plain bytes"
            )


def _check_members(archive: Archive) -> None:
    path, members = archive.path, archive.members
    lacking = sorted(_REQUIRED - set(members))
    if lacking:
        raise RegistryError(f"{path}: lacks {', '.join(lacking)}: not a torch.export program")
    tensors = set()
    for name in CONFIGS:
        tensors |= program.tensors(_json(archive, name), f"{path}: {name}", name.rpartition("/")[0])
    for name, content in members.items():
        if name in (PROGRAM, EXAMPLE, *CONFIGS):
            continue
        if name in _TEXTS:
            if not re.fullmatch(_TEXTS[name], content):
                raise RegistryError(f"{path}: {name} is {brief(content)}, which no program has")
        elif not (_TENSOR.fullmatch(name) and name in tensors):
            what = "a pickle" if _looks_pickled(name, content) else "what is no part of a program of tensors"
            raise RegistryError(f"{path}: holds {what}: {brief(name)}; it was not loaded")
    values = _json(archive, PROGRAM)
    is_bare = program.strip(values)
    program.check(values, f"{path}: {PROGRAM}")
    if not is_bare:
        members[PROGRAM] = program.text(values)
    has_example = _check_example(archive)
    archive.is_plain = is_bare and not has_example


def _json(archive: Archive, name: str) -> Any:
    content = archive.members[name]
    if len(content) > MAX_BYTES:
        raise RegistryError(f"{archive.path}: {name} has {len(content)} bytes, at most {MAX_BYTES} are read")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RegistryError(f"{archive.path}: {name} is no UTF-8") from error
    return parse_json(text, f"{archive.path}: {name}", RegistryError, finite=False)


def _looks_pickled(name: str, content: bytes) -> bool:
    return name.endswith((".pkl", ".pickle", ".pt", ".pth")) or content[:1] == b"\x80" or content[:2] == b"PK"


def _check_example(archive: Archive) -> bool:
    """Whether there is a pickle of example tensors; RegistryError for a pickle of anything else."""
    content = archive.members[EXAMPLE]
    if not content:
        return False
    inner = _inner(archive.path, content)
    if inner == _NO_EXAMPLE:
        return False
    pickles = [name for name in inner if name.endswith(".pkl")]
    if pickles != ["data.pkl"]:
        raise RegistryError(f"{archive.path}: {EXAMPLE} holds a pickle; it was not loaded")
    names = _pickled_names(inner["data.pkl"])
    if names is None or names - _TENSOR_GLOBALS:
        said = f" that names {brief(sorted(names - _TENSOR_GLOBALS)[0])}" if names else ""
        raise RegistryError(f"{archive.path}: {EXAMPLE} holds a pickle{said}; it was not loaded")
    return True


def _inner(path: Path, content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            infos = inner.infolist()
            _check_directory(path, infos, len(content))
            return {info.filename.partition("/")[2]: inner.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise RegistryError(f"{path}: {EXAMPLE} holds a pickle; it was not loaded") from error


def _pickled_names(content: bytes) -> set[str] | None:
    """The globals that a pickle asks for, by its text alone; None where it calls more than they."""
    names = set()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL":
                names.add(str(argument))
            elif opcode.name in (
                "STACK_GLOBAL",
                "INST",
                "OBJ",
                "NEWOBJ",
                "NEWOBJ_EX",
                "BUILD",
                "EXT1",
                "EXT2",
                "EXT4",
            ):
                return None
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError):
        return None
    return names


def _no_example() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _NO_EXAMPLE.items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}", _STAMP), content)
    return made.getvalue()
