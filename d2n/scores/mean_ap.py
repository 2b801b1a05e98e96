"""Mean average precision of ranked lists: the Oxford protocol, its revisited form, and recall at k.

Philbin et al., 2007 (trapezoid average precision); Radenović et al., 2018, "Revisiting Oxford and Paris"
(easy, medium, hard; mP@k); Torii et al., 2015, "24/7 place recognition" (recall at k).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
GroundTruth = Sequence[Mapping[str, Any]]

# What counts as a positive and what is taken out of the ranking, by difficulty.
_REVISITED = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


@dataclass(frozen=True, eq=False)
class MapResult:
    """Means over the queries that have positives, and each query's own value; all in [0, 1]."""

    map: float
    aps: Array  # (queries,), NaN where a query has no positive
    mp_at: dict[int, float]


def average_precision(positive_ranks: Any, num_positives: int) -> float:
    """Area under the precision-recall line by trapezoids.

    ``positive_ranks`` are the 0-based ranks of the positives found, in rising order after junk removal;
    ``num_positives`` counts all positives, found or not. NaN when it is 0; 0 when none was found.

    AP = sum_j 1/n * 1/2 * [(1 if r_j = 0 else j / r_j) + (j + 1) / (r_j + 1)], j from 0.
    """
    ranks = np.sort(as_array(positive_ranks).astype(np.float64).reshape(-1))
    if num_positives < 0 or (ranks.size and not (np.isfinite(ranks).all() and ranks[0] >= 0)):
        raise ScoreError(f"{num_positives} positives, ranks {ranks[:5]}: expected finite numbers from 0")
    if num_positives == 0:
        return float("nan")
    j = np.arange(ranks.size)
    before = np.divide(j, ranks, out=np.ones_like(ranks), where=ranks > 0)
    return float(np.sum(before + (j + 1) / (ranks + 1)) / (2 * num_positives))


def mean_average_precision(
    ranks: Any, ground_truth: GroundTruth, kappas: Iterable[int] = (1, 5, 10)
) -> MapResult:
    """mAP and mP@k of ``ranks`` (database, queries): column q lists database indices, best first.

    ``ground_truth[q]["ok"]`` are the positives of query q (duplicates count); ``"junk"``, which may be
    absent, is taken out of the ranking before. An image that is both stays a positive and still shifts later
    ones. Queries without a positive are NaN in ``aps`` and left out of the means; when there is no other query the
    means are NaN and a warning is logged. With no positive ranked AP and mP@k are 0.

    mP@k caps k at the 1-based rank of the last positive found, as the published evaluation code does.
    """
    order, kappas = _checked(ranks, ground_truth), _checked_kappas(kappas)
    aps = np.full(len(ground_truth), np.nan)
    precisions = np.full((len(ground_truth), len(kappas)), np.nan)
    for q, truth in enumerate(ground_truth):
        num_positives = _indices(truth, "ok", q).size
        if num_positives:
            found = _positive_ranks(order[:, q], truth, q)
            aps[q] = average_precision(found, num_positives)
            precisions[q] = [_precision_at(found, k) for k in kappas]
    return _summary(aps, precisions, kappas)


def revisited(
    ranks: Any, ground_truth: GroundTruth, kappas: Iterable[int] = (1, 5, 10)
) -> dict[str, MapResult]:
    """Results for "easy", "medium" and "hard" from ground truth with lists "easy", "hard" and "junk".

    Easy: positives easy, junk = junk + hard. Medium: easy + hard, junk. Hard: hard, junk + easy.
    """
    kappas = tuple(kappas)
    return {
        name: mean_average_precision(
            ranks,
            [
                {"ok": _joined(truth, ok, q), "junk": _joined(truth, junk, q)}
                for q, truth in enumerate(ground_truth)
            ],
            kappas,
        )
        for name, (ok, junk) in _REVISITED.items()
    }


def recall_at(ranks: Any, ground_truth: GroundTruth, kappas: Iterable[int] = (1, 5, 10)) -> dict[int, float]:
    """Share of all queries with a positive among the first k, junk removed first.

    Queries without positives stay in the denominator, as in place recognition. NaN without queries.
    """
    order, kappas = _checked(ranks, ground_truth), _checked_kappas(kappas)
    first = np.full(len(ground_truth), np.inf)
    for q, truth in enumerate(ground_truth):
        found = _positive_ranks(order[:, q], truth, q)
        if found.size:
            first[q] = found.min()
    if not first.size:
        logger.warning("recall of no query is undefined: the ground truth is empty")
        return dict.fromkeys(kappas, float("nan"))
    return {k: float(np.mean(first < k)) for k in kappas}


def _positive_ranks(order: Indices, truth: Mapping[str, Any], query: int) -> Indices:
    """0-based ranks of the positives with the junk ahead of them taken out."""
    positives = _places(order, _indices(truth, "ok", query))
    junk = _places(order, _indices(truth, "junk", query))
    return positives - np.searchsorted(junk, positives, side="left")


def _places(order: Indices, wanted: Indices) -> Indices:
    """Rising places at which ``order`` names a wanted index."""
    return np.flatnonzero(np.isin(order, wanted)) if wanted.size else np.empty(0, dtype=np.int64)


def _precision_at(found: Indices, k: int) -> float:
    if not found.size:
        return 0.0
    capped = min(int(found.max()) + 1, k)
    return float(np.sum(found + 1 <= capped) / capped)


def _summary(aps: Array, precisions: Array, kappas: tuple[int, ...]) -> MapResult:
    scored = ~np.isnan(aps)
    if not scored.any():
        logger.warning("mAP is undefined: none of the %d queries has a positive", len(aps))
        return MapResult(float("nan"), aps, dict.fromkeys(kappas, float("nan")))
    means = precisions[scored].mean(axis=0)
    return MapResult(
        float(aps[scored].mean()), aps, {k: float(v) for k, v in zip(kappas, means, strict=True)}
    )


def _checked(ranks: Any, ground_truth: GroundTruth) -> Indices:
    order = as_array(ranks)
    if order.ndim != 2 or order.shape[1] != len(ground_truth):
        raise ScoreError(
            f"ranks have shape {order.shape} for {len(ground_truth)} queries, expected (database, queries): "
            "one column a query"
        )
    if order.dtype.kind not in "iu":
        raise ScoreError(f"ranks are of type {order.dtype}, expected integers: indices into the database")
    order = order.astype(np.int64)
    if order.size and order.min() < 0:
        raise ScoreError(f"ranks hold the index {order.min()}, expected indices from 0")
    repeated = next((q for q in range(order.shape[1]) if _repeats(order[:, q])), None)
    if repeated is not None:
        raise ScoreError(f"the ranking of query {repeated} names a database image twice, expected each once")
    return order


def _repeats(column: Indices) -> bool:
    if not column.size:
        return False
    seen = np.zeros(int(column.max()) + 1, dtype=bool)
    seen[column] = True
    return int(seen.sum()) != column.size


def _checked_kappas(kappas: Iterable[int]) -> tuple[int, ...]:
    kappas = tuple(int(k) for k in kappas)
    if any(k < 1 for k in kappas):
        raise ScoreError(f"kappas are {kappas}, expected numbers from 1")
    return kappas


def _indices(truth: Mapping[str, Any], key: str, query: int) -> Indices:
    if key not in truth:
        if key == "junk":
            return np.empty(0, dtype=np.int64)
        raise ScoreError(f"ground truth of query {query} has no {key!r}, only {', '.join(map(repr, truth))}")
    return as_array(truth[key]).astype(np.int64).reshape(-1)


def _joined(truth: Mapping[str, Any], keys: tuple[str, ...], query: int) -> Indices:
    return np.concatenate([_indices(truth, key, query) for key in keys])
