"""The seal of a model: the sha256 of each of its files, kept in tags, held against the files whenever they are read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from d2n.errors import RegistryError
from d2n.files.reading import brief, file_sha256
from d2n.tracking import names

_LONGEST = 4500  # characters of a tag; some databases hold 5000
_PLACE = b"artifact_path: "  # `d2n store move` writes it anew; nothing reads it to load
_SHA256 = re.compile(r"[0-9a-f]{64}")


def manifest(folder: Path) -> dict[str, str]:
    """Path in the folder → sha256, of every file."""
    return {name: file_sum(folder, name) for name in list_files(folder)}


def file_sum(folder: Path, name: str) -> str:
    """sha256 of a file of a model; of its MLmodel without the line that says where the model lies, which moves."""
    if name != "MLmodel":
        return file_sha256(folder / name)
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    return hashlib.sha256(b"".join(line for line in lines if not line.startswith(_PLACE))).hexdigest()


def tag_values(sums: Mapping[str, str]) -> dict[str, str]:
    """The tags that keep a manifest: JSON, continued under numbered names where it is long."""
    text = json.dumps(dict(sorted(sums.items())), separators=(",", ":"))
    parts = [text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST)]
    return {names.seal(number): part for number, part in enumerate(parts)}


def sums_of(tags: Mapping[str, str], subject: str = "a model") -> dict[str, str] | None:
    """The manifest in tags; None where there is none, RegistryError where it cannot be read."""
    if names.seal(0) not in tags:
        return None
    text, number = "", 0
    while (part := tags.get(names.seal(number))) is not None:
        text, number = text + part, number + 1
    try:
        sums = json.loads(text)
    except (ValueError, RecursionError):
        sums = None
    if not isinstance(sums, dict) or not sums or not all(_is_sum(value) for value in sums.values()):
        raise RegistryError(
            f"{subject}: its tag {names.seal(0)} holds no sums: {brief(text)}; register it again"
        )
    return sums


def check(folder: Path, tags: Mapping[str, str]) -> None:
    """RegistryError, with the file and both sums, unless the folder holds what the tags seal, if they do."""
    sums = sums_of(tags, str(folder))
    if sums is None:
        return
    there = list_files(folder)
    for name in sorted({*sums, *there}):
        found = file_sum(folder, name) if name in there else "no such file"
        expected = sums.get(name, "no such file")
        if found != expected:
            raise RegistryError(
                f"the model's {brief(name)} is not what was registered: expected {_short(expected)}, found "
                f"{_short(found)}; it was changed in the store: nothing of it was used, take another version"
            )


def list_files(folder: Path) -> list[str]:
    """Every file below a folder, by its path in it; RegistryError for a link, a pipe or a device."""
    found = []
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise RegistryError(
                    f"the model in {folder} holds {brief(name)}, which is a link or no plain file"
                )
            if stat.S_ISREG(mode):
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def _is_sum(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _short(value: str) -> str:
    return f"sha256 {value}" if _is_sum(value) else value
