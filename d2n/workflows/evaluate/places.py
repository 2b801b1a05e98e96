"""A benchmark by name or by folder: opened, and prepared where it was not."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from d2n import datasets
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.index import Index
from d2n.errors import DataError
from d2n.files import mirror

_INDEX = re.compile(r"d2n-index-(.+)\.csv")
_SHOWN = 3


def open_benchmarks(name: str, root: Path | None, split: str, work: Path) -> list[Benchmark]:
    """The benchmarks of a set's name, of the name a folder was prepared as, an index, a folder with a ground truth.

    What has no index is prepared into ``work``; nothing is written beside the images. DataError in one line, also
    where images that the ground truth names are not on disk.
    """
    found, place, index = _located(name, root, work)
    benchmarks = load_benchmarks(found, root=place, split=split, index=index)
    for benchmark in benchmarks:
        refuse_absent(benchmark)
    return benchmarks


def refuse_absent(benchmark: Benchmark) -> None:
    """DataError that counts the images of a benchmark that are not there."""
    images = dict.fromkeys((*benchmark.database, *benchmark.queries))
    absent = [path for path in images if not mirror.is_there(path)]
    if absent:
        shown = ", ".join(map(str, absent[:_SHOWN]))
        raise DataError(
            f"{benchmark.name}: {len(absent)} of its {len(images)} images are not there, such as {shown}; download "
            "them, or name their folder with --root"
        )


def _located(name: str, root: Path | None, work: Path) -> tuple[str, Path | None, Path | None]:
    """(name, root, index's folder) as load_benchmarks takes them."""
    folder = Path(name)
    if (match := _INDEX.fullmatch(folder.name)) and folder.is_file():
        if root is None:
            raise DataError(f"{name} is an index: name the folder of its images with --root")
        if not root.is_dir():
            raise DataError(f"--root {root}: no such folder")
        return match[1], root, folder.parent
    if root is None and folder.is_dir() and ("/" in name or name in (".", "..") or not _is_prepared(name)):
        known = [match[1] for path in sorted(folder.iterdir()) if (match := _INDEX.fullmatch(path.name))]
        if len(known) > 1:
            raise DataError(
                f"{folder}: prepared as {', '.join(known)}; name one, and the folder with --root {folder}"
            )
        if known:
            return known[0], folder, None
        return _prepared("folders", folder, work)
    if root is not None and not root.is_dir():
        raise DataError(f"--root {root}: no such folder")
    if root is not None and name in datasets.SETS and not datasets.index_path(root, name).is_file():
        return _prepared(name, root, work)
    return name, root, None


def _is_prepared(name: str) -> bool:
    home = Path(os.environ.get("D2N_DATA", "data")) / name
    return name in datasets.SETS or (home.is_dir() and datasets.index_path(home, name).is_file())


def _prepared(name: str, root: Path, work: Path) -> tuple[str, Path, Path]:
    kind = datasets.SETS[name]
    if kind.listing is None:
        raise DataError(f"{root}: no index of {name}; run `d2n data make {name}`")
    key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    out = work / "indexes" / f"{name}-{key}"
    out.mkdir(parents=True, exist_ok=True)
    index: Index = datasets.prepare(name, root, out=out)
    return index.name, root, out
