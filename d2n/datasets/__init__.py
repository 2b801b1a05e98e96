"""Data sets: what lies on a disk, under a rule, as an index; batches, tuples and benchmarks read from that."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2n import naming
from d2n.datasets import aachen, folders, places, revisited, robotcar, rsfm, tokyo247, transattr
from d2n.datasets.index import Index, index_path
from d2n.datasets.kinds import SetKind
from d2n.datasets.preparing import Looking, OnBadImage, find_index, open_set, prepare_set, reselect
from d2n.datasets.toycity import kind as toycity_kind
from d2n.errors import DataError

__all__ = [
    "SETS",
    "Index",
    "SetKind",
    "index_path",
    "kind_of",
    "named",
    "open_index",
    "prepare",
    "require_true_nights",
    "true_nights",
]

SETS: Mapping[str, SetKind] = {
    "toycity": toycity_kind.KIND,
    "folders": folders.KIND,
    "transattr": transattr.KIND,
    "aachen": aachen.KIND,
    "robotcar": robotcar.KIND,
    "rsfm": rsfm.KIND,
    "roxford5k": revisited.ROXFORD5K,
    "rparis6k": revisited.RPARIS6K,
    "tokyo247": tokyo247.KIND,
    "svox": places.SVOX,
    "msls": places.MSLS,
    "nordland": places.NORDLAND,
}


def prepare(
    name: str,
    root: str | Path,
    out: str | Path | None = None,
    rule: Mapping[str, Any] | None = None,
    on_bad_image: OnBadImage = "fail",
    workers: int = 2,
    as_name: str | None = None,
) -> Index:
    """Index the images of set ``name`` below ``root``; the index lies beside the data, or in ``out``.

    Every image is decoded and hashed once; an interrupted run goes on, and a second one reads changed files only.
    No image is copied. ``rule`` overrides the set's knobs; ``as_name`` names a folder of one's own. Raises
    DataError in one line for whatever does not fit the format; bad images fail it, or under
    ``on_bad_image="skip"`` are left out and counted.
    """
    kind, called = named(name, as_name)
    looking = Looking(on_bad_image, workers)
    return prepare_set(kind, called, Path(root), Path(out) if out else None, rule, looking)


def named(name: str, as_name: str | None = None) -> tuple[SetKind, str]:
    """The row of set ``name``, and what its index will be called; DataError for a name that is not known or free."""
    kind = _kind(name)
    called = name if as_name is None else as_name
    if as_name in SETS and as_name != name:
        raise DataError(f"{as_name}: is the name of another set; choose one that is free")
    return kind, naming.checked_name(called, "the data set's name", DataError)


def kind_of(index: Index) -> SetKind | None:
    """The row of what an index was made from; None where no set of that name is known."""
    return SETS.get(index.kind or index.name)


def open_index(
    name: str,
    root: str | Path | None = None,
    index: str | Path | None = None,
    rule: Mapping[str, Any] | None = None,
) -> Index:
    """The index that ``prepare`` (or ``make``) wrote.

    ``root``: the images' folder, or the folder of the index; None: ``data/<name>``, or ``$D2N_DATA/<name>``.
    ``index``: the index file or its folder, where it is not beside the data. ``rule`` overrides knobs of the rule
    the index was made with: the selection and the splits are drawn anew from what the walk found.
    Raises DataError that names the command to run where there is no index.
    """
    naming.checked_name(name, "the data set's name", DataError)
    home = Path(os.environ.get("D2N_DATA", "data")) / name
    folder = Path(root) if root is not None else None
    path = find_index(name, folder, Path(index) if index is not None else None, home)
    if path is None:
        raise DataError(f"{index or folder or home}: no index of {name}; {_command(name, folder or home)}")
    opened = open_set(name, path, folder)
    return reselect(path, _kind(opened.kind), opened, rule) if rule else opened


def true_nights(index: Index) -> Mapping[Path, Path]:
    """The true night of each image that retrieval trains on, made where it is not there yet; absolute paths."""
    require_true_nights(index)
    kind = kind_of(index)
    return {} if kind is None or kind.true_nights is None else kind.true_nights(index)


def require_true_nights(index: Index) -> None:
    """DataError of a set that has none: only a city that is rendered knows them."""
    kind = kind_of(index)
    if kind is None or kind.true_nights is None:
        known = ", ".join(name for name, row in SETS.items() if row.true_nights is not None)
        raise DataError(
            f"{index.name}: the true nights of its images are not known, night.augmentation oracle needs them; they "
            f"are of {known}"
        )


def _kind(name: str) -> SetKind:
    if name not in SETS:
        close = difflib.get_close_matches(name, SETS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(f"{naming.brief(name)}: no such data set (known: {', '.join(SETS)}){hint}")
    return SETS[name]


def _command(name: str, root: Path) -> str:
    there = shlex.quote(f"./{root}" if str(root).startswith("-") else str(root))
    if name not in SETS:
        known = f"known sets: {', '.join(SETS)}"
        return f"run `d2n data prepare folders {there} --as {name}` for a folder of your own ({known})"
    kind = SETS[name]
    if kind.listing is None:
        return f"run `d2n data make {name}`"
    asked = "" if root.exists() else f" (its images: {kind.ask_at})"
    return f"run `d2n data prepare {name} {there}`{asked}"
