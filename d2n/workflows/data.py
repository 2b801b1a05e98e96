"""``d2n data list | make | prepare | verify``: lines to print, and whether all is well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2n import datasets
from d2n.datasets import SETS, layouts, open_index, verifying
from d2n.datasets.benchmarks import ground_truths
from d2n.datasets.directions import known_domains
from d2n.datasets.index import Index, load_index
from d2n.datasets.listing import LEFT_OUT, left_out_lines
from d2n.datasets.preparing import AS_USUAL, Looking, prepare_set
from d2n.errors import DataError
from d2n.files import mirror
from d2n.files.writing import require_writable, write_bytes

_TABLES = (
    ".csv",
    ".json",
    ".pkl",
    ".txt",
    ".mat",
    ".yaml",
)  # what stands beside images: indexes, ground truths
_MAX_TABLE_BYTES = 1 << 30


def list_sets() -> list[str]:
    """Every set that d2n reads, what it is for, and what of it lies under ``data`` (or ``$D2N_DATA``)."""
    home = _home()
    lines = [f"{'set':<11}{'what':<34}{'for':<14}here ({home})"]
    lines += [
        f"{name:<11}{kind.title:<34}{'evaluation' if kind.evaluation else 'training':<14}{_here(home / name, name)}"
        for name, kind in SETS.items()
    ]
    own = sorted(path for path in home.glob("*/d2n-index-*.csv") if _name_of(path) not in SETS)
    lines += [
        f"{_name_of(path):<11}{'folder of your own':<34}{'training':<14}{_here_file(path)}" for path in own
    ]
    return lines


def make(
    name: str,
    root: Path | None = None,
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 2,
    progress: bool = False,
    **further: Any,
) -> list[str]:
    """Render a generated set; its counts and fingerprint. ``further``: rebuild and conditions, as of toycity.make."""
    rendered = {key: kind.make for key, kind in SETS.items() if kind.make is not None}
    if name not in rendered:
        raise DataError(
            f"{name}: is not generated; expected {' or '.join(rendered)}, or run `d2n data prepare {name} ROOT`"
        )
    root = root or _home() / name
    if not root.is_dir():  # a finished set may be read-only
        require_writable(root)
    index = rendered[name](root, seed=seed, scale=scale, workers=workers, progress=progress, **further)
    return _report(index)


def prepare(
    name: str,
    root: Path | None = None,
    out: Path | None = None,
    rule: Mapping[str, Any] | None = None,
    looking: Looking = AS_USUAL,
    pickles: Path | None = None,
    as_name: str | None = None,
) -> list[str]:
    """Index a download or a folder; its counts beside the thesis's, its fingerprint, where the index lies.

    ``pickles``: a folder into which the public layouts of retrieval sets and benchmarks are written too.
    """
    root = root or _home() / (as_name or name)
    for folder in (out, pickles):
        if folder is not None:
            require_writable(folder)
    kind, called = datasets.named(name, as_name)
    index = prepare_set(kind, called, root, out, rule, looking)
    lines = [*_report(index), f"index      {datasets.index_path(out or root, index.name)}"]
    return lines + (_write_pickles(index, pickles) if pickles is not None else [])


def verify(
    name: str, root: Path | None = None, index: Path | None = None, workers: int = 2, progress: bool = False
) -> tuple[list[str], bool]:
    """One line for each thing that is wrong, then what is not read, then a closing line; whether nothing is wrong.

    Without an index the folder is looked at for what its own files and labels can tell.
    """
    home = root or _home() / name
    try:
        opened = open_index(name, root, index)
    except DataError:
        if (
            index is not None
            or name not in SETS
            or not home.is_dir()
            or datasets.index_path(home, name).exists()
        ):
            raise
        problems = verifying.verify_folder(SETS[name], home, None, workers, progress)
        notes = verifying.passed_over(SETS[name], home, None)
        seen = f"{home}: never indexed"
    else:
        problems = verifying.verify_index(SETS[opened.kind], opened, workers, progress)
        notes = verifying.passed_over(SETS[opened.kind], opened.root, opened.rule)
        seen = f"{name}: {len(opened.rows)} images of {opened.root}, digest {opened.digest[:12]}"
    summary = f"{seen}: {len(problems)} problems" if problems else f"{seen}: nothing wrong"
    lines = (problem.line.replace("\n", "\\n") for problem in problems)  # a name may hold a line break
    return [*lines, *notes, summary], not problems


def mirrored(url: str, folder: Path, max_gb: float) -> list[str]:
    """Make the folder a mirror of the URL: indexes and ground truths are fetched now, images as they are read."""
    require_writable(folder)
    made = mirror.make(url, folder, int(max_gb * 1e9))
    found = mirror.tables(made, _TABLES, _MAX_TABLE_BYTES)
    for name, content in found.items():
        write_bytes(folder / name, content)
    indexes = sorted(folder.glob("d2n-index-*.csv"))
    if not indexes:
        raise DataError(
            f"{url}: holds no d2n-index-NAME.csv; prepare the images where they lie (`d2n data prepare`), and put the "
            "index beside them"
        )
    kept = f"at most {max_gb:g} GB of its images are kept here"
    return [f"{folder} mirrors {url} (fetched: {', '.join(found)}); {kept}", *map(_mirrored_line, indexes)]


def _mirrored_line(path: Path) -> str:
    return f"  {_name_of(path)}: {_here_file(path)}; use it with --set dataset.root={path.parent}"


def _home() -> Path:
    return Path(os.environ.get("D2N_DATA", "data"))


def _name_of(path: Path) -> str:
    return path.stem.removeprefix("d2n-index-")


def _here(folder: Path, name: str) -> str:
    path = datasets.index_path(folder, name)
    if path.is_file():
        return _here_file(path)
    return "not prepared" if folder.is_dir() else "-"


def _here_file(path: Path) -> str:
    try:
        index = load_index(path)
    except DataError as error:
        return f"damaged index: {error}"
    return f"{len(index.rows)} images, {len(index.pairs)} pairs, digest {index.digest[:12]}"


def _report(index: Index) -> list[str]:
    """Counts by domain and split, the thesis's beside those it names, the fingerprint."""
    counts = {key: n for key, n in index.counts().items() if not key.startswith(LEFT_OUT)}
    for domain in dict.fromkeys(("day", "night", *known_domains(index))):
        counts[domain] = sum(domain in row.labels and row.split != "retrieval" for row in index.rows)
    thesis = SETS[index.kind or index.name].thesis
    if index.pairs:
        counts["pairs"] = len(index.pairs)
    width = max(map(len, counts))
    lines = [f"{index.name}: {len(index.rows)} images in {index.root}"]
    lines += [
        f"  {key:<{width}} {n:>8,}" + (f"   thesis {thesis[key]:,}" if key in thesis else "")
        for key, n in counts.items()
        if n or key in thesis
    ]
    return [*lines, *left_out_lines(index.facts), f"digest     {index.digest}"]


def _write_pickles(index: Index, folder: Path) -> list[str]:
    written: list[Path] = []
    refused: list[str] = []
    if not SETS[index.kind or index.name].evaluation:
        try:
            written += layouts.write_training_pickles(index, folder)
        except DataError as error:
            refused.append(str(error))
    try:
        written += [
            layouts.write_benchmark_pickle(index, truth, folder) for truth in ground_truths(index, "test")
        ]
    except DataError as error:
        refused.append(str(error))
    if not written:
        raise DataError(refused[0])
    return [f"written    {path}" for path in written] + [f"not written: {line}" for line in refused]
