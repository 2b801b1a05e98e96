"""``d2n init``: the experiments and studies that come with d2n, copied into a folder to edit."""

from __future__ import annotations

from pathlib import Path

from d2n import shipped
from d2n.files.writing import require_writable, write_bytes


def init(target: Path) -> list[str]:
    """Copy every YAML below ``target``; a file that is there already stays as it is. Lines that say what was done."""
    lines = []
    for kind in shipped.KINDS:
        written, kept = _copy(kind, target / kind)
        already = f", {kept} that were there stay as they are" if kept else ""
        lines.append(f"{target / kind}: {written} files written{already}")
    here = "" if target == Path() else f"cd {target}; "
    return [
        *lines,
        "a file here wins over the one of the same name that comes with d2n",
        f"next: {here}d2n check, then d2n train cyclegan_toycity --dry-run",
    ]


def _copy(kind: shipped.Kind, home: Path) -> tuple[int, int]:
    """How many were written, and how many were there before."""
    require_writable(home)
    files = shipped.yaml_files(shipped.folder(kind))
    absent = [file for file in files if not (home / file.name).exists()]
    for file in absent:
        write_bytes(home / file.name, file.read_bytes())
    return len(absent), len(files) - len(absent)
