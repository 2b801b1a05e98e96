"""What a rule takes from a folder, before any image is opened; the rule's knobs; the walk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n.config import nearest
from d2n.datasets.images import IMAGE_SUFFIXES
from d2n.errors import ConfigError, DataError
from d2n.files.reading import read_text

_MAX_LIST_BYTES = 256 * 2**20
SHARED_KNOBS: Mapping[str, Any] = {
    "val_share": 0.1,  # of the scenes, or of the images where scenes are unknown
    "test_share": 0.1,
    "split_seed": 0,
}


@dataclass(frozen=True)
class Candidate:
    """An image that the rule names; its size and bytes are not known yet."""

    path: str
    domain: str = ""
    scene: str = ""
    split: str = ""  # "": drawn by scene or path, where it has a domain
    sha256: str = ""  # expected, where a label file says so


@dataclass(frozen=True)
class Listing:
    """All that a rule takes from a folder."""

    images: tuple[Candidate, ...]
    pairs: tuple[tuple[str, str], ...] = ()  # (day path, night path)
    min_side_px: int = 0  # smaller images are left out and counted
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SetKind:
    """A format that can be read: how, with which knobs, and the counts the thesis reports."""

    title: str
    listing: Callable[[Path, Mapping[str, Any]], Listing] | None  # None: generated, not read
    knobs: Mapping[str, Any] = field(default_factory=dict)  # the rule's own, with the thesis's values
    thesis: Mapping[str, int] = field(default_factory=dict)  # as Index.counts or "day" / "night" name them
    load: str = "crop"  # how dataset.load: auto takes a training image
    evaluation: bool = False  # a retrieval benchmark: nothing to train on

    def resolve(
        self, rule: Mapping[str, Any] | None, base: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The whole rule: what is given over ``base`` (or the defaults); unknown knobs are refused."""
        known = {**({} if self.evaluation else SHARED_KNOBS), **self.knobs}
        resolved = {**known, **(base or {})}
        for key, value in (rule or {}).items():
            if key not in known:
                raise ConfigError(
                    f"dataset.rule.{key}: no such knob of this set{nearest(key, known)} (known: {', '.join(known)})"
                )
            resolved[key] = _checked(key, value, known[key])
        return resolved


def walk_images(root: Path, folder: str, any_suffix: bool = False) -> list[str]:
    """Paths of the images below ``root/folder``, relative to ``root``, sorted; hidden files are left out.

    Raises DataError where the folder is missing. Links to folders are not followed.
    """
    start = root / folder
    if not start.is_dir():
        raise DataError(f"{start}: no such folder; {_present(root)}")
    return sorted(_walk(root, start, any_suffix))


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


def _walk(root: Path, start: Path, any_suffix: bool) -> Iterator[str]:
    for folder, folders, files in os.walk(start):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and (any_suffix or name.lower().endswith(IMAGE_SUFFIXES)):
                yield Path(folder, name).relative_to(root).as_posix()


def _present(root: Path) -> str:
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except OSError:
        return f"{root} is no folder either"
    return f"{root} holds {', '.join(names[:6]) or 'nothing'}{', …' if len(names) > 6 else ''}"


def _checked(key: str, value: Any, default: Any) -> Any:
    wanted = type(default)
    if isinstance(default, bool) or default is None or isinstance(default, str | list):
        fits = default is None or isinstance(value, wanted) or (wanted is list and isinstance(value, str))
        fits = fits or (wanted is str and isinstance(value, list))
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise ConfigError(
            f"dataset.rule.{key}: {value!r} is a {type(value).__name__}, expected {wanted.__name__}"
        )
    if key.endswith("_share") and not 0 <= value < 1:
        raise ConfigError(f"dataset.rule.{key}: {value} is out of range, expected a share in [0, 1)")
    return value
