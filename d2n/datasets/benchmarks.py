"""Retrieval benchmarks: queries, database and ground truth, with absolute paths and a fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from d2n.core import DatasetInfo
from d2n.datasets import SETS, kind_of, open_index
from d2n.datasets.ground_truth import (
    GroundTruth,
    Kind,
    box_problems,
    check_ground_truth,
    parts_without_answers,
)
from d2n.datasets.images import image_size
from d2n.datasets.index import ImageRow, Index
from d2n.datasets.listing import resolved_names
from d2n.errors import DataError
from d2n.files import mirror


@dataclass(frozen=True)
class Benchmark:
    """Queries to be found in a database."""

    name: str  # toycity/night, roxford5k …
    kind: Kind  # standard: mAP over ok; revisited: easy, medium, hard; place: recall at N
    database: tuple[Path, ...]
    queries: tuple[Path, ...]
    boxes: tuple[tuple[float, float, float, float], ...] | None  # query boxes, left, top, right, bottom in px
    ground_truth: list[dict[str, list[int]]]  # one a query: lists of indices into database
    self_match: bool  # query i is database image i
    info: DatasetInfo
    database_sizes: tuple[tuple[int, int], ...] = ()  # (width, height) in px of each image, as indexed
    query_sizes: tuple[tuple[int, int], ...] = ()  # of the whole images, without boxes
    undefined: tuple[str, ...] = ()  # parts (easy, hard) that no query has a right answer in
    turn: bool = True  # whether images are turned by EXIF before boxes are cut
    database_sha256s: tuple[str, ...] = ()
    query_sha256s: tuple[str, ...] = ()
    query_scenes: tuple[str, ...] = ()  # "" where it is not known
    query_conditions: tuple[str, ...] = ()  # day, night, "" for neither


def load_benchmarks(
    name: str, root: str | Path | None = None, split: str = "test", index: str | Path | None = None
) -> list[Benchmark]:
    """The benchmarks of a prepared data set: toycity gives toycity/day and toycity/night, a folder likewise.

    ``name`` is a set's name or the one a folder was prepared as; ``root`` the images' folder or that of the index.
    The published sets have split ``test`` alone. Raises DataError where the set is not prepared, the split has
    no benchmark, or the ground truth names an image that the index does not have.
    """
    opened = open_index(name, root, index)
    return [_benchmark(opened, truth) for truth in ground_truths(opened, split)]


def ground_truths(index: Index, split: str) -> list[GroundTruth]:
    """The benchmarks of an index, in relative paths, as they stand on disk: images may be absent."""
    kind = kind_of(index)
    if kind is None or kind.ground_truths is None:
        known = ", ".join(name for name, row in SETS.items() if row.ground_truths is not None)
        raise DataError(f"{index.name}: no retrieval benchmark is defined on it; expected one of {known}")
    if kind.evaluation and split != "test":
        raise DataError(f"{index.name}: has no split {split!r}; set evaluation.split=test for this benchmark")
    return kind.ground_truths(index, split)


def has_ground_truth_file(index: Index, split: str) -> bool:
    """Whether a file on disk, not the scenes of the index, says what answers what."""
    kind = kind_of(index)
    return kind is not None and kind.has_ground_truth_file(index.root, split)


def named_images(index: Index, split: str) -> dict[str, list[str]]:
    """Every image that a ground truth names, by benchmark: relative paths, in the index's accents."""
    rows = {row.path: row for row in index.rows}
    truths = [_as_indexed(truth, rows) for truth in ground_truths(index, split)]
    return {t.name: list(dict.fromkeys((*t.database, *t.queries))) for t in truths}


def wrong_boxes(index: Index, split: str) -> list[str]:
    """A line for each query box of a ground truth that is no part of its image."""
    rows = {row.path: row for row in index.rows}
    sizes = {path: (row.width, row.height) for path, row in rows.items()}
    kind = kind_of(index)
    truths = [_as_indexed(truth, rows) for truth in ground_truths(index, split)]
    if kind is not None and not kind.turn:
        queries = [path for truth in truths for path in truth.queries if truth.boxes and path in rows]
        sizes |= _stored_sizes(index, [rows[path] for path in queries])
    return [line for truth in truths for line in box_problems(truth, sizes)]


def _benchmark(index: Index, truth: GroundTruth) -> Benchmark:
    check_ground_truth(truth, truth.name)
    rows = {row.path: row for row in index.rows}
    truth = _as_indexed(truth, rows)
    absent = [path for path in (*truth.database, *truth.queries) if path not in rows]
    if absent:
        raise DataError(
            f"{truth.name}: {len(absent)} images of the ground truth are not in the index, first {absent[0]!r}; "
            f"`d2n data verify {index.name}` lists them"
        )
    sizes = {path: (row.width, row.height) for path, row in rows.items()}
    kind = kind_of(index)
    turn = kind is None or kind.turn
    if not turn and truth.boxes is not None:
        sizes |= _stored_sizes(index, [rows[path] for path in truth.queries])
    wrong = box_problems(truth, sizes)
    if wrong:
        more = f" (and {len(wrong) - 1} more boxes)" if len(wrong) > 1 else ""
        raise DataError(f"{truth.name}: {wrong[0]}{more}; `d2n data verify {index.name}` lists them")
    return Benchmark(
        name=truth.name,
        kind=truth.kind,
        database=tuple(index.path(rows[path]) for path in truth.database),
        queries=tuple(index.path(rows[path]) for path in truth.queries),
        boxes=truth.boxes,
        ground_truth=[dict(answer) for answer in truth.ground_truth],
        self_match=truth.self_match,
        info=_info(index, truth),
        database_sizes=tuple(sizes[path] for path in truth.database),
        query_sizes=tuple(sizes[path] for path in truth.queries),
        undefined=parts_without_answers(truth),
        turn=turn,
        database_sha256s=tuple(rows[path].sha256 for path in truth.database),
        query_sha256s=tuple(rows[path].sha256 for path in truth.queries),
        query_scenes=tuple(rows[path].scene or _landmark(path, truth.kind) for path in truth.queries),
        query_conditions=tuple(rows[path].domain for path in truth.queries),
    )


def _stored_sizes(index: Index, rows: list[ImageRow]) -> dict[str, tuple[int, int]]:
    """(width, height) as the files have it, without a turn by EXIF; files that are absent are left out."""
    there = [row for row in rows if mirror.is_there(index.path(row))]
    return {row.path: image_size(index.path(row), turn=False) for row in there}


def _landmark(path: str, kind: Kind) -> str:
    """Revisited Oxford and Paris name their images after the landmark: all_souls_000013."""
    return re.sub(r"_\d+$", "", PurePosixPath(path).stem) if kind == "revisited" else ""


def _as_indexed(truth: GroundTruth, rows: Mapping[str, ImageRow]) -> GroundTruth:
    """The ground truth with its names in the accents (NFC or NFD) that the index has."""
    spelt = resolved_names((*truth.database, *truth.queries), rows)
    if not spelt:
        return truth
    database, queries = (
        tuple(spelt.get(path, path) for path in paths) for paths in (truth.database, truth.queries)
    )
    return replace(truth, database=database, queries=queries)


def _info(index: Index, truth: GroundTruth) -> DatasetInfo:
    """The digest covers the images' bytes and the answers."""
    hashes = {row.path: row.sha256 for row in index.rows}
    content = asdict(truth) | {
        "database": [hashes[path] for path in truth.database],
        "queries": [hashes[path] for path in truth.queries],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    counts = {"database": len(truth.database), "queries": len(truth.queries)}
    return replace(index.info(), name=truth.name, digest=digest, counts=counts)
