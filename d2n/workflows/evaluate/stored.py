"""Descriptors in a vector store: filled by any number of workers that go on where they were, and searched."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.images import load_rgb
from d2n.errors import ImageError
from d2n.files.reading import file_sha256
from d2n.retrieval import network, search, whitening
from d2n.retrieval.vectors import (
    Hits,
    Recall,
    Row,
    VectorStore,
    VectorTable,
    recall_at,
    row_digests,
    table_name,
)
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.folder import refuse_small
from d2n.workflows.measures import reader

PHOTOGRAPHS = "photographs"
CHUNK = 2048
RECALL_K, DEPTH = 10, 1000
PROBES, REFINE = 64, 10  # of an index that nobody measured
Describe = Callable[[Sequence[tuple[str, str]]], tuple[list[Row], np.ndarray]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One of so many workers' images; which are whose is in their names."""

    number: int = 1  # from 1
    of: int = 1

    def has(self, name: str) -> bool:
        """Whether an image is this worker's."""
        return zlib.crc32(os.fsencode(name)) % self.of == self.number - 1


WHOLE = Part()


@dataclass(frozen=True)
class Images:
    """What a table is to hold: names with their files, and the sha256 of each where it is known."""

    collection: str
    names: Sequence[str]
    path_of: Callable[[str], Path]
    load: Callable[[Path], np.ndarray]
    by_sha256: bool = False  # names are the sha256 of their files


@dataclass(frozen=True)
class Through:
    """How a benchmark's database is searched in place of memory."""

    url: str
    approximate: bool = False
    depth: int = DEPTH  # of the ranking: what is found later counts as not found


@dataclass(frozen=True)
class Filled:
    """What a worker did."""

    described: int
    known: int
    bad: int


def photographs(folder: Path, names: Sequence[str]) -> Images:
    """The photographs of a folder, by their paths in it."""
    return Images(PHOTOGRAPHS, names, lambda name: folder / name, load_rgb)


def database(benchmark: Benchmark, turn: bool | None) -> Images:
    """A benchmark's database, by the images' sha256."""
    paths = dict(zip(benchmark.database_sha256s, benchmark.database, strict=True))
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in benchmark.name)
    return Images(
        f"{slug}-{benchmark.info.digest[:8]}",
        list(paths),
        paths.__getitem__,
        reader(benchmark, None, turn),
        by_sha256=True,
    )


def identity_of(
    describer: Describer, turn: bool, learned: whitening.Whitening | None, dim: int | None = None
) -> dict[str, str]:
    """All that decides a stored descriptor but the image: the describer's, and the whitening with its dimensions."""
    made = ""
    if learned is not None:
        digest = hashlib.sha256()
        for array in (learned.mean, learned.projection):
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        made = f"{digest.hexdigest()[:32]} {dim or 'all'}"
    return {**describer.identity(turn), "whitening": made}


def opened(
    url: str,
    collection: str,
    describer: Describer,
    identity: Mapping[str, str],
    learned: whitening.Whitening | None,
    dim: int | None = None,
) -> VectorTable:
    """The table of a collection by this network, made where it is not there."""
    width = network.descriptor_dim(describer.net) if learned is None else learned.projection.shape[0]
    about = {"collection": collection, "identity": json.dumps(dict(identity), sort_keys=True)}
    return VectorStore(url).make(table_name(collection, identity), min(width, dim or width), about)


def fill(
    table: VectorTable,
    images: Images,
    describe: Describe,
    *,
    part: Part = WHOLE,
    chunk: int = CHUNK,
    skip_bad: bool = False,
    progress: bool = False,
) -> Filled:
    """Describe the images of this part that the table does not know, ``chunk`` at a time; each chunk is kept at once.

    A killed worker loses the chunk that it was in. An image that cannot be read ends it, or is counted and left out.
    """
    known, described, there, bad = table.known(), 0, 0, 0
    mine = [name for name in images.names if part.has(name)]
    with tqdm(total=len(mine), desc="descriptors", disable=None if progress else True) as bar:
        for start in range(0, len(mine), chunk):
            names = mine[start : start + chunk]
            stamps = [_stamp(images, name) for name in names]
            fresh = ~_among(row_digests(names, stamps), known)
            there += int((~fresh).sum())
            todo = [(name, stamp) for name, stamp, new in zip(names, stamps, fresh, strict=True) if new]
            if skip_bad:
                whole = [pair for pair in todo if _is_whole(images, pair[0])]
                bad, todo = bad + len(todo) - len(whole), whole
            if todo:
                table.put(*describe(todo))
                described += len(todo)
            bar.update(len(names))
    return Filled(described, there, bad)


def describe_by(
    describer: Describer, images: Images, learned: whitening.Whitening | None, dim: int | None = None
) -> Describe:
    """Rows and descriptors of names with their stamps: by the network, whitened where there is a whitening."""

    def describe(todo: Sequence[tuple[str, str]]) -> tuple[list[Row], np.ndarray]:
        paths = [images.path_of(name) for name, _ in todo]
        if not images.by_sha256:
            refuse_small(describer, paths)
        made = search.extract(describer.net, paths, describer.view, load_image=images.load)
        if learned is not None:
            made = whitening.apply_whitening(made, learned, dim).astype(np.float32)
        shas = [
            name if images.by_sha256 else file_sha256(path)
            for (name, _), path in zip(todo, paths, strict=True)
        ]
        return [Row(name, sha, stamp) for (name, stamp), sha in zip(todo, shas, strict=True)], made

    return describe


def searched(
    benchmark: Benchmark,
    describer: Describer,
    learned: whitening.Whitening | None,
    dim: int | None,
    queries: np.ndarray,
    through: Through,
) -> tuple[np.ndarray, float | None]:
    """((depth, Q) rows of the database, recall@10 against exact search or None where the search was exact).

    What the store lacks of the database is described first.
    """
    turn = benchmark.turn if describer.turn is None else describer.turn
    identity = identity_of(describer, turn, learned, dim)
    images = database(benchmark, describer.turn)
    table = opened(through.url, images.collection, describer, identity, learned, dim)
    fill(table, images, describe_by(describer, images, learned, dim), progress=describer.progress)
    depth = min(through.depth, len(benchmark.database))
    if not through.approximate:
        return _as_rows(table.exact(queries, depth), benchmark, depth), None
    table.require_index()
    kept = table.store.recall(table.name)
    probes, refine = (kept.probes, kept.refine) if kept is not None else (PROBES, REFINE)
    found = table.approximate(queries, depth, probes, refine)
    return _as_rows(found, benchmark, depth), recall_at(found, table.exact(queries, RECALL_K), RECALL_K)


def recall_line(recall: Recall | None) -> str:
    """What an index finds of exact search, in words."""
    if recall is None:
        return "whose recall was not measured: run `d2n vectors index`"
    return (
        f"recall@{recall.k} against exact search {100 * recall.value:.1f} "
        f"({recall.queries} of its images, when it was made of {recall.rows:,})"
    )


def _stamp(images: Images, name: str) -> str:
    """Size and time of a file: one that has both as before is not read again."""
    if images.by_sha256:
        return ""
    try:
        found = images.path_of(name).stat()
    except OSError as error:
        raise ImageError(f"{images.path_of(name)}: cannot be read ({error.strerror or error})") from error
    return f"{found.st_size}-{found.st_mtime_ns}"


def _is_whole(images: Images, name: str) -> bool:
    try:
        images.load(images.path_of(name))
    except ImageError as error:
        logger.warning("left out: %s", error)
        return False
    return True


def _among(digests: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N,) whether each is among the sorted ones."""
    if not len(known):
        return np.zeros(len(digests), dtype=bool)
    places = np.minimum(np.searchsorted(known, digests), len(known) - 1)
    there: np.ndarray = known[places] == digests
    return there


def _as_rows(found: Sequence[Hits], benchmark: Benchmark, depth: int) -> np.ndarray:
    """(depth, Q) rows of the database; images of one content follow each other."""
    rows_of: dict[str, list[int]] = {}
    for row, sha in enumerate(benchmark.database_sha256s):
        rows_of.setdefault(sha, []).append(row)
    columns = [list(_rows(hits.names, rows_of, depth)) for hits in found]
    return np.array(columns, dtype=np.int64).T


def _rows(names: Sequence[str], rows_of: Mapping[str, Sequence[int]], depth: int) -> Iterator[int]:
    left = depth
    for name in names:
        for row in rows_of[name][:left]:
            yield row
            left -= 1
