"""What a rule takes from a folder, before any image is opened; the walk."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n.datasets.images import IMAGE_SUFFIXES
from d2n.errors import DataError
from d2n.files.reading import read_text

_MAX_LIST_BYTES = 256 * 2**20
LEFT_OUT = "left_out/"
"""Begins the facts that count what a walk passed over, by suffix or as a link."""
_OWN_FILES = ("d2n-index-", "d2n-scan-")
# Photographs in formats that are not read: what a person does about it differs.
_PHONE = frozenset({".heic", ".heif", ".hif"})
_RAW = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
_OTHER_IMAGES = frozenset({
    ".avif", ".bpg", ".eps", ".exr", ".hdr", ".ico", ".j2k", ".jp2", ".jxl", ".jxr", ".psd", ".svg", ".tga",
})  # fmt: skip
_LINKED_FOLDER = "linked folder"


@dataclass(frozen=True)
class Candidate:
    """An image that the rule names; its size and bytes are not known yet."""

    path: str
    domain: str = ""
    scene: str = ""
    split: str = ""  # "": drawn by scene or path, where it has a domain
    sha256: str = ""  # expected, where a label file says so
    condition: str = ""  # finer than the domain, or of neither day nor night


@dataclass(frozen=True)
class Listing:
    """All that a rule takes from a folder."""

    images: tuple[Candidate, ...]
    pairs: tuple[tuple[str, str], ...] = ()  # (day path, night path)
    min_side_px: int = 0  # smaller images are left out and counted
    facts: Mapping[str, int] = field(default_factory=dict)


def walk_images(
    root: Path, folder: str, any_suffix: bool = False, left_out: Counter[str] | None = None
) -> list[str]:
    """Paths of the images below ``root/folder``, relative to ``root``, sorted.

    Hidden files (``._x.jpg``, ``.DS_Store``) are no photographs and are passed over. Other files that are not read
    are counted in ``left_out`` by their suffix, as are links to folders, which are not followed. Raises
    DataError where the folder is missing.
    """
    start = root / folder
    if not start.is_dir():
        raise DataError(f"{start}: no such folder; {_present(root)}")
    found, counts = [], Counter[str]() if left_out is None else left_out
    for place, folders, files in os.walk(start):
        shown = sorted(name for name in folders if not name.startswith("."))
        counts[_LINKED_FOLDER] += sum(os.path.islink(f"{place}/{name}") for name in shown)  # noqa: PTH114
        folders[:] = shown
        for name in files:
            why = _left_out(name, any_suffix)
            if why is None:
                found.append(Path(place, name).relative_to(root).as_posix())
            elif why:
                counts[why] += 1
    return sorted(found)


def left_out_facts(left_out: Mapping[str, int]) -> dict[str, int]:
    """What a walk passed over, as facts of an index."""
    return {f"{LEFT_OUT}{what}": n for what, n in sorted(left_out.items()) if n}


def left_out_lines(facts: Mapping[str, int]) -> list[str]:
    """For people: how many files of each kind were passed over, and why."""
    found = {key.removeprefix(LEFT_OUT): n for key, n in facts.items() if key.startswith(LEFT_OUT)}
    return [f"left out: {n} {what}: {_why(what)}" for what, n in found.items()]


def resolved_names(wanted: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Each wanted name as it is present: where it is not itself, one that differs in how accents are written alone.

    File systems and archives keep ``é`` as one character (NFC) or as two (NFD); a table may hold the other one.
    """
    known = set(present)
    missing = [name for name in wanted if name not in known]
    if not missing:
        return {}
    by_form: dict[str, str] = {}
    for name in sorted(known):
        by_form.setdefault(unicodedata.normalize("NFC", name), name)
    normalised = {name: unicodedata.normalize("NFC", name) for name in missing}
    return {name: by_form[form] for name, form in normalised.items() if form in by_form}


def as_on_disk(root: Path, path: str) -> str:
    """``path`` below ``root``, folder by folder in the accents (NFC or NFD) that the disk has; itself where absent."""
    if path.isascii() or path.startswith("/") or (root / path).exists():
        return path
    place = root
    for part in path.split("/"):
        try:
            names = os.listdir(place)  # noqa: PTH208 - names alone
        except (OSError, ValueError):
            return path
        place = place / resolved_names([part], names).get(part, part)
    return place.relative_to(root).as_posix() if place.exists() else path


def find_root(root: Path, *places: str, holds: str) -> Path:
    """The first of root, root/place … that holds ``holds``; DataError with what is there instead."""
    for place in ("", *places):
        if (root / place / holds).exists():
            return root / place
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that the data set was unpacked into")
    raise DataError(f"{root}: holds no {holds}; {_present(root)}")


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a list file; DataError when it is absent or not text."""
    text = read_text(path, DataError, at_most=_MAX_LIST_BYTES, absent="no such list file")
    return [line.strip() for line in text.splitlines() if line.strip()]


def as_list(value: Any) -> list[str]:
    """A knob that may be one text or a list of them."""
    if value is None or value == "":
        return []
    return (
        [str(item) for item in value]
        if isinstance(value, Iterable) and not isinstance(value, str)
        else [str(value)]
    )


def _left_out(name: str, any_suffix: bool) -> str | None:
    """None for an image, "" for what no one asks after, else why a file is passed over: its suffix."""
    if name.startswith((".", *_OWN_FILES)):
        return ""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - names, many of them
    if not any_suffix and suffix not in IMAGE_SUFFIXES:
        return suffix or "without a suffix"
    return None


def _why(what: str) -> str:
    if what == _LINKED_FOLDER:
        return (
            "links to folders are not followed; put the folder itself there, or prepare the one that it names"
        )
    if what in _PHONE:
        return "not read; convert to JPEG (a phone's settings can also take JPEG: most compatible)"
    if what in _RAW:
        return "raw camera files are not read; develop them to JPEG, PNG or TIFF"
    if what in _OTHER_IMAGES:
        return "this image format is not read; convert to JPEG or PNG"
    return "not an image that is read"


def _present(root: Path) -> str:
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except OSError:
        return f"{root} is no folder either"
    return f"{root} holds {', '.join(names[:6]) or 'nothing'}{', …' if len(names) > 6 else ''}"
