"""Descriptors beyond memory: one row an image in a LanceDB table, in a folder or on S3.

Searched exactly in bounded memory, or by an index. LanceDB is the extra ``vectors``; nothing of it is imported before
a store is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2n.errors import ConfigError, DataError, RetrievalError

Floats = NDArray[np.float32]
BATCH_ROWS = 16384  # rows in memory at once: 32 MiB of 512 dimensions
SAMPLE_ROWS = 64  # an index is trained on this many rows a partition
PARTITION_ROWS, MOST_PARTITIONS = 4096, 32_768  # 4.3 GB of 512 dimensions to train the most on
MOST_PROBES = 1024
_KEY = {
    b"lance-schema:unenforced-primary-key": b"true"
}  # two writers of one name: the second one sees the first
_ABOUT = b"d2n"
_RECALLS = "d2n-recall"


@dataclass(frozen=True)
class Hits:
    """What one query found, best first."""

    names: tuple[str, ...]
    similarities: tuple[float, ...]  # cosines


@dataclass(frozen=True)
class Recall:
    """What an index finds of the exact best k, measured when it was made."""

    table: str
    rows: int
    queries: int
    k: int
    value: float  # share of the exact best k, in [0, 1]
    probes: int  # partitions that are read for a query
    refine: int  # times k rows whose descriptors are compared exactly


@dataclass(frozen=True)
class Row:
    """An image and its descriptor, described by whom the table's identity says."""

    name: str  # the table's key
    image: str  # sha256 of the file
    stamp: str  # size and time of the file, "" where the sha256 was known


def require_lancedb() -> None:
    """ConfigError in one line where the extra is not here."""
    if importlib.util.find_spec("lancedb") is None:
        raise ConfigError(
            "a vector store is LanceDB's, and the package lancedb is not here: pip install 'd2n[vectors]'"
        )


def require_store(url: str, *, is_there: bool = False) -> None:
    """One line for what can be no store, before anything is opened; with ``is_there`` for a folder that is absent."""
    require_lancedb()
    scheme, separator, rest = url.partition("://")
    if separator and (scheme != "s3" or not rest.strip("/")):
        raise ConfigError(f"{url}: no vector store; expected a folder or s3://BUCKET/PATH")
    if separator:
        return
    place = Path(url)
    if place.exists() and not place.is_dir():
        raise DataError(f"{url}: is a file; expected a vector store: a folder or s3://BUCKET/PATH")
    if is_there and not place.is_dir():
        raise DataError(
            f"{url}: no such vector store; `d2n vectors fill MODEL FOLDER STORE` describes photographs into one"
        )


def table_name(collection: str, identity: Mapping[str, str]) -> str:
    """A table holds the descriptors of one collection by one network, view and whitening: its name says which."""
    text = json.dumps(dict(identity), sort_keys=True)
    return f"{collection}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def row_digests(names: Sequence[str], stamps: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each name with its stamp: what is known fits into 8 bytes a row."""
    pairs = zip(names, stamps, strict=True)
    made = b"".join(
        hashlib.blake2b(f"{name}\0{stamp}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        for name, stamp in pairs
    )
    return np.frombuffer(made, dtype=np.uint64)


class VectorStore:
    """A folder or an ``s3://`` URL that holds tables of descriptors."""

    def __init__(self, url: str) -> None:
        require_lancedb()
        import lancedb

        self.url = url
        with _refused(url, "cannot be opened"):
            self._db = lancedb.connect(url, storage_options=storage_options(url))

    def names(self) -> list[str]:
        """The tables of descriptors."""
        with _refused(self.url, "cannot be read"):
            found: list[str] = []
            page = None
            while True:
                answer = self._db.list_tables(page_token=page)
                found += answer.tables
                page = answer.page_token
                if not page:
                    return sorted(name for name in found if name != _RECALLS)

    def make(self, name: str, dim: int, about: Mapping[str, str]) -> VectorTable:
        """The table of that name, made where it is not there; ``about`` is what it says of itself."""
        import pyarrow as pa

        schema = pa.schema(
            [
                pa.field("name", pa.string(), False, metadata=_KEY),
                pa.field("image", pa.string(), False),
                pa.field("stamp", pa.string(), False),
                pa.field("vector", pa.list_(pa.float32(), dim), False),
            ],
            metadata={_ABOUT: json.dumps(dict(about)).encode()},
        )
        with _refused(self.url, "no table can be made there"):
            self._db.create_table(name, schema=schema, exist_ok=True)
        return self.table(name)

    def table(self, name: str) -> VectorTable:
        """The table of that name; RetrievalError where it is not there, or not d2n's."""
        with _refused(f"{self.url}: {name}", "no such table"):
            table = self._db.open_table(name)
        about = (table.schema.metadata or {}).get(_ABOUT)
        if about is None or "vector" not in table.schema.names:
            raise RetrievalError(f"{self.url}: {name} is no table of d2n's descriptors")
        return VectorTable(self, name, table, json.loads(about))

    def recall(self, name: str) -> Recall | None:
        """What was measured last of that table's index."""
        if _RECALLS not in self._db.list_tables(limit=10_000).tables:
            return None
        rows = self._db.open_table(_RECALLS).search().to_list()
        return next((Recall(**row) for row in rows if row["table"] == name), None)

    def keep_recall(self, recall: Recall) -> None:
        """Keep what was measured, in place of what was measured before."""
        import pyarrow as pa

        schema = pa.schema(
            [
                pa.field("table", pa.string(), False, metadata=_KEY),
                *(pa.field(key, pa.int64()) for key in ("rows", "queries", "k")),
                pa.field("value", pa.float64()),
                *(pa.field(key, pa.int64()) for key in ("probes", "refine")),
            ]
        )
        with _refused(self.url, "cannot be written"):
            table = self._db.create_table(_RECALLS, schema=schema, exist_ok=True)
            merge = table.merge_insert("table").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pa.Table.from_pylist([vars(recall)], schema=schema))


class VectorTable:
    """Descriptors (N, D) float32 of L2 norm 1, by name; any number of processes read and write it."""

    def __init__(self, store: VectorStore, name: str, table: Any, about: Mapping[str, str]) -> None:
        self.store, self.name, self.about = store, name, about
        self._table = table
        self.dim: int = table.schema.field("vector").type.list_size

    def __len__(self) -> int:
        self._table.checkout_latest()
        return int(self._table.count_rows())

    def known(self) -> NDArray[np.uint64]:
        """Sorted digests of the names and stamps that have a row: 8 bytes a row in memory."""
        parts = [
            row_digests(batch["name"].to_pylist(), batch["stamp"].to_pylist())
            for batch in self._batches(("name", "stamp"))
        ]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.uint64)

    def put(self, rows: Sequence[Row], vectors: Floats) -> None:
        """Write rows at once, whole or not at all; one whose name is there replaces it where the image is another."""
        import pyarrow as pa

        if vectors.shape != (len(rows), self.dim):
            raise RetrievalError(
                f"{self.name}: {vectors.shape} descriptors of {len(rows)} images, the table has {self.dim} dimensions"
            )
        if not np.isfinite(vectors).all():
            raise RetrievalError(f"{self.name}: descriptors are not all finite; check the network's weights")
        with _refused(f"{self.store.url}: {self.name}", "cannot be written"):
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
            columns = [[row.name for row in rows], [row.image for row in rows], [row.stamp for row in rows]]
            made = pa.Table.from_arrays(
                [
                    *(pa.array(column) for column in columns),
                    pa.FixedSizeListArray.from_arrays(flat, self.dim),
                ],
                schema=self._table.schema,
            )
            self._table.checkout_latest()
            changed = "target.image != source.image OR target.stamp != source.stamp"
            merge = self._table.merge_insert("name").when_matched_update_all(where=changed)
            merge.when_not_matched_insert_all().execute(made)

    def exact(self, queries: Floats, k: int) -> list[Hits]:
        """The best k rows of each of (Q, D) queries, by one walk through all rows in bounded memory."""
        from d2n.retrieval.ranking import Best  # torch, which a store that is looked at does not need

        best, names = Best(queries, k), dict[int, str]()
        for batch in self._batches(("name", "vector")):
            first = best.seen
            best.see(_matrix(batch["vector"], self.dim))
            column = batch["name"]
            rows = {int(row) for row in np.unique(best.rows)}
            names = {row: names[row] if row < first else column[row - first].as_py() for row in rows}
        if not best.seen:
            raise RetrievalError(f"{self.store.url}: {self.name} holds no descriptors yet")
        return [
            Hits(tuple(names[int(row)] for row in rows), tuple(map(float, scores)))
            for rows, scores in zip(best.rows, best.scores, strict=True)
        ]

    def approximate(self, queries: Floats, k: int, probes: int, refine: int) -> list[Hits]:
        """The best k rows of each query among ``probes`` partitions of the index, ``refine`` times k compared exactly.

        More partitions are read where these hold fewer than k rows; rows that came after the index are compared too.
        """
        self.require_index()
        return [self._nearest(query, k, probes, refine) for query in queries]

    def _nearest(self, query: Floats, k: int, probes: int, refine: int) -> Hits:
        with _refused(f"{self.store.url}: {self.name}", "cannot be searched"):
            search = self._table.search(query.astype(np.float32), vector_column_name="vector")
            search = search.distance_type("cosine").minimum_nprobes(probes).maximum_nprobes(0)
            found = search.refine_factor(refine).limit(k).select(["name", "_distance"]).to_arrow()
        distances = found["_distance"].to_numpy()
        return Hits(tuple(found["name"].to_pylist()), tuple(map(float, 1 - distances)))

    def require_index(self) -> None:
        """RetrievalError where there is no index to search by."""
        if not self.is_indexed():
            raise RetrievalError(
                f"{self.store.url}: {self.name} has no index for --approximate; make it with "
                f"`d2n vectors index {self.store.url}`, or search exactly"
            )

    def is_indexed(self) -> bool:
        """Whether approximate search is possible."""
        return any("vector" in index.columns for index in self._table.list_indices())

    def index(self) -> None:
        """Join the small files of many writers, and make the index: product quantisation of dim / 8 bytes a row."""
        from lancedb.index import IvfPq

        rows = len(self)
        if rows < 256:
            raise RetrievalError(
                f"{self.store.url}: {self.name} holds {rows} descriptors; an index needs 256, and helps from about "
                "100,000 on: search exactly"
            )
        config = IvfPq(
            distance_type="cosine",
            num_partitions=_partitions(rows),
            num_sub_vectors=next(n for n in range(max(1, self.dim // 8), 0, -1) if self.dim % n == 0),
            sample_rate=SAMPLE_ROWS,
            max_iterations=20,
        )
        with _refused(f"{self.store.url}: {self.name}", "cannot be indexed"):
            self._table.optimize()
            self._table.create_index("vector", config=config, replace=True)

    def sample(self, count: int, seed: int = 0) -> tuple[list[str], Floats]:
        """Names and descriptors (count, D) of rows drawn at random."""
        rows = len(self)
        drawn = np.random.default_rng(seed).choice(rows, min(count, rows), replace=False)
        with _refused(f"{self.store.url}: {self.name}", "cannot be read"):
            found = self._table.take_offsets([int(row) for row in np.sort(drawn)]).to_arrow()
        return found["name"].to_pylist(), _matrix(found["vector"].combine_chunks(), self.dim)

    def measured_recall(self, goal: float, k: int = 10, queries: int = 100, refine: int = 10) -> Recall:
        """As few partitions as find ``goal`` of the exact best k of images of the store, the image itself left out."""
        own, vectors = self.sample(queries)
        exact = [_without(hits, name) for hits, name in zip(self.exact(vectors, k + 1), own, strict=True)]
        probes, most = 1, _partitions(len(self))
        while True:
            found = self.approximate(vectors, k + 1, probes, refine)
            near = [_without(hits, name) for hits, name in zip(found, own, strict=True)]
            value = recall_at(near, exact, k)
            if value >= goal or probes >= min(most, MOST_PROBES):
                return Recall(self.name, len(self), len(own), k, value, probes, refine)
            probes = min(2 * probes, most)

    def _batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of a walk through all rows of the newest version."""
        with _refused(f"{self.store.url}: {self.name}", "cannot be read"):
            self._table.checkout_latest()
            yield from self._table.search().select(list(columns)).to_batches(batch_size=BATCH_ROWS)


def recall_at(found: Sequence[Hits], exact: Sequence[Hits], k: int) -> float:
    """The share of each query's exact best k that was found among its first k, averaged over queries."""
    shares = [
        len(set(one.names[:k]) & set(true.names[:k])) / max(1, len(true.names[:k]))
        for one, true in zip(found, exact, strict=True)
    ]
    return float(np.mean(shares)) if shares else float("nan")


def storage_options(url: str) -> dict[str, str]:
    """How LanceDB reaches S3 as MLflow does: the endpoint from its variables, the keys by the usual chain."""
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL")
    if not url.startswith("s3://") or not endpoint:
        return {}
    return {"endpoint": endpoint, "allow_http": str(endpoint.startswith("http:")).lower()}


def _partitions(rows: int) -> int:
    return min(MOST_PARTITIONS, max(1, rows // PARTITION_ROWS))


def _without(hits: Hits, name: str) -> Hits:
    kept = [(n, s) for n, s in zip(hits.names, hits.similarities, strict=True) if n != name]
    return Hits(tuple(n for n, _ in kept), tuple(s for _, s in kept))


def _matrix(column: Any, dim: int) -> Floats:
    """(N, dim) of a column of lists of fixed size."""
    made: Floats = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return made


@contextlib.contextmanager
def _refused(what: str, why: str) -> Iterator[None]:
    """What LanceDB and its object store say as one line: they raise ValueError, RuntimeError and OSError."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        said = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise RetrievalError(f"{what}: {why} ({said})") from error
