"""Exact nearest-neighbour search by dot product: the full ranking, or the best k of many rows in bounded memory."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from d2n.errors import RetrievalError

Floats = NDArray[np.floating]
_CHUNK_SCORES = 1 << 23  # scores held at once: 32 MiB of float32, 64 MiB as sorting keys
_CHUNK_ROWS = 65536  # database rows in one matrix product
_MIN_QUERIES = 8  # in one matrix product, however long the database is


def rank(queries: ArrayLike, database: ArrayLike, k: int | None = None) -> NDArray[np.int64]:
    """Exact search by dot product: (k or N, Q) database rows, best first; equal scores in order of their row.

    queries: (Q, D), database: (N, D). k None ranks the whole database.
    """
    q, x = _checked(queries, "queries"), _checked(database, "database")
    q = q.astype(x.dtype, copy=False)
    if q.shape[1] != x.shape[1]:
        raise RetrievalError(
            f"queries have {q.shape[1]} dimensions, the database {x.shape[1]}; whiten both or none"
        )
    if k is None or k >= len(x):
        return _rank_all(q, x)
    if k < 1:
        raise RetrievalError(f"the best {k} were asked for, expected at least 1")
    step = max(_MIN_QUERIES, _CHUNK_SCORES // min(len(x), _CHUNK_ROWS))
    parts = [_rank_best(q[start : start + step], x, k) for start in range(0, len(q), step)]
    return np.concatenate(parts, axis=1)


def stable_order(scores: Floats) -> NDArray[np.int64]:
    """(Q, N) finite scores to (Q, N) columns by falling score, equal ones by their number.

    A float32 and its column make one whole number of 64 bits whose order is the one that is wanted, so that any
    sort gives it: numpy's for such numbers is several times faster than a stable sort of pairs.
    """
    if scores.dtype == np.float32:
        keys = _keys(scores)
        keys.sort(axis=1)
        keys &= np.uint64(0xFFFFFFFF)
        return keys.view(np.int64)
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    for row in np.flatnonzero((ranked[:, 1:] == ranked[:, :-1]).any(axis=1)):
        order[row] = np.argsort(-scores[row], kind="stable")
    return order.astype(np.int64, copy=False)


def _keys(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The bits of each score, turned so that a larger score is a smaller number, before the 32 bits of its column."""
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 becomes 0: they are equal
    turned = (bits.view(np.int32) >> np.int32(31)).view(np.uint32)  # all ones below 0: these fall already
    np.invert(turned, out=turned)
    turned &= np.uint32(0x7FFFFFFF)
    bits ^= turned
    low, high = (0, 1) if sys.byteorder == "little" else (1, 0)
    keys = np.empty((*bits.shape, 2), dtype=np.uint32)
    keys[..., high], keys[..., low] = bits, np.arange(bits.shape[1], dtype=np.uint32)
    whole: NDArray[np.uint64] = keys.view(np.uint64)[..., 0]
    return whole


def _rank_all(queries: Floats, database: Floats) -> NDArray[np.int64]:
    out = np.empty((len(database), len(queries)), dtype=np.int64)
    workers = max(1, torch.get_num_threads())
    step = min(len(queries), max(workers, _CHUNK_SCORES // len(database)))
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(queries), step):
            scores = _scores(queries[start : start + step], database)
            parts = np.array_split(np.arange(len(scores)), min(workers, len(scores)))

            def sort(part: NDArray[np.int64], scores: Floats = scores, at: int = start) -> None:
                rows = slice(part[0], part[-1] + 1)
                out[:, at + part[0] : at + part[-1] + 1] = stable_order(scores[rows]).T

            if len(parts) == 1:
                sort(parts[0])
            else:
                list(pool.map(sort, parts))
            del scores
    return out


class Best:
    """The best k rows so far for each of (Q, D) queries, while a database passes by in pieces; exact.

    ``rows`` and ``scores`` are (Q, at most k), best first; equal scores in order of their row.
    """

    def __init__(self, queries: ArrayLike, k: int) -> None:
        if k < 1:
            raise RetrievalError(f"the best {k} were asked for, expected at least 1")
        self._queries, self._k, self.seen = _checked(queries, "queries"), k, 0
        dtype = torch.float64 if self._queries.dtype == np.float64 else torch.float32
        self._scores = torch.empty(len(self._queries), 0, dtype=dtype)
        self._rows = torch.empty(len(self._queries), 0, dtype=torch.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Numbers of rows, in the order in which they were seen."""
        return self._rows.numpy()

    @property
    def scores(self) -> Floats:
        """Their dot products."""
        found: Floats = self._scores.numpy()
        return found

    def see(self, chunk: ArrayLike) -> None:
        """The next (N, D) rows: their best k against the best k so far."""
        x = _checked(chunk, "database")
        if x.shape[1] != self._queries.shape[1]:
            raise RetrievalError(
                f"queries have {self._queries.shape[1]} dimensions, the database {x.shape[1]}; whiten both or none"
            )
        step = max(_MIN_QUERIES, _CHUNK_SCORES // len(x))
        parts = [
            _stable_topk(
                torch.from_numpy(_scores(self._queries[at : at + step], x)).to(self._scores.dtype), self._k
            )
            for at in range(0, len(self._queries), step)
        ]
        values = torch.cat([self._scores, torch.cat([part[0] for part in parts])], dim=1)
        rows = torch.cat([self._rows, torch.cat([part[1] for part in parts]) + self.seen], dim=1)
        values, places = torch.sort(values, dim=1, descending=True, stable=True)  # earlier rows stand first
        self._scores, self._rows = values[:, : self._k], rows.gather(1, places)[:, : self._k]
        self.seen += len(x)


def _rank_best(queries: Floats, database: Floats, k: int) -> NDArray[np.int64]:
    best = Best(queries, k)
    for start in range(0, len(database), _CHUNK_ROWS):
        best.see(database[start : start + _CHUNK_ROWS])
    return best.rows.T.copy()


def _scores(queries: Floats, database: Floats) -> Floats:
    """(Q, N) dot products. A number that is not finite makes all of its own row or column so: these are looked at."""
    with np.errstate(invalid="ignore", over="ignore"):
        scores: Floats = queries @ database.T
        total = scores.sum()
    if not np.isfinite(total) and not np.isfinite(scores).all():
        name = "queries" if not np.isfinite(queries).all() else "database"
        raise RetrievalError(f"{name}: descriptors are not all finite; check the network's weights")
    return scores


def _stable_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """torch.topk whose ties go to the earlier column, also at the border of the best k."""
    if k >= scores.shape[1]:
        ordered = torch.sort(scores, dim=1, descending=True, stable=True)
        return ordered.values, ordered.indices
    values, columns = torch.topk(scores, k, dim=1, sorted=False)
    columns, _ = torch.sort(columns, dim=1)
    last = values.amin(dim=1, keepdim=True)
    for row in torch.nonzero((scores >= last).sum(dim=1) > k).flatten().tolist():
        columns[row] = _border_resolved(scores[row], float(last[row]), k)
    values, places = torch.sort(scores.gather(1, columns), dim=1, descending=True, stable=True)
    return values, columns.gather(1, places)


def _border_resolved(scores: Tensor, last: float, k: int) -> Tensor:
    above = torch.nonzero(scores > last).flatten()
    level = torch.nonzero(scores == last).flatten()[: k - len(above)]
    return torch.sort(torch.cat([above, level])).values


def _checked(x: ArrayLike, name: str) -> Floats:
    array = np.ascontiguousarray(x)
    if array.ndim != 2 or not len(array):
        raise RetrievalError(f"{name} are {array.shape} descriptors, expected (N, D) with N at least 1")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
