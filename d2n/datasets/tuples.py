"""Queries and positives for retrieval training; negatives are mined later, from other clusters."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from d2n.datasets.index import ImageRow, Index
from d2n.errors import DataError

MAX_POSITIVES = 20
"""Positives taken for one query where only its scene is known; a scene of thousands would give millions of pairs."""


@dataclass(frozen=True)
class RetrievalSet:
    """Images, the cluster (scene) of each, and query-positive pairs as indices into ``paths``."""

    paths: tuple[Path, ...]
    clusters: tuple[int, ...]
    query_idx: tuple[int, ...]
    positive_idx: tuple[int, ...]
    sizes: tuple[
        tuple[int, int], ...
    ] = ()  # (width, height) in px of each image; (0, 0) where it is not indexed


def retrieval_set(index: Index) -> RetrievalSet:
    """The retrieval training set of an index.

    A set may bring its own, as Retrieval-SfM does with its pickle. Else day images of split ``retrieval``
    (``train`` where that has none): each is a query, its positives are the other images of its scene, at most
    the next MAX_POSITIVES.
    Images of unknown scene are clusters of their own. Raises DataError where no scene has two images.
    """
    from d2n.datasets import kind_of  # its rows name what this file defines

    kind = kind_of(index)
    made = scene_tuples(index) if kind is None else kind.tuples(index)
    return made if made.sizes else _with_sizes(made, index)


def scene_tuples(index: Index, splits: tuple[str, ...] = ("retrieval", "train")) -> RetrievalSet:
    """All same-scene pairs of the day images of the first split that has any, as ``retrieval_set`` says."""
    rows = next((rows for split in splits if (rows := index.select("day", split))), [])
    clusters = _clusters(rows)
    members = defaultdict(list)
    for i, cluster in enumerate(clusters):
        members[cluster].append(i)
    pairs = [pair for group in members.values() for pair in _pairs(group)]
    if not pairs:
        raise DataError(
            f"{index.name}: no scene of the {len(rows)} day images to train on has two of them; "
            f"retrieval training needs scenes (dataset.rule.scenes, or a label file with a scene column)"
        )
    paths = tuple(index.path(row) for row in rows)
    sizes = tuple((row.width, row.height) for row in rows)
    return RetrievalSet(paths, tuple(clusters), tuple(q for q, _ in pairs), tuple(p for _, p in pairs), sizes)


def _with_sizes(images: RetrievalSet, index: Index) -> RetrievalSet:
    known = {row.path: (row.width, row.height) for row in index.rows}
    relative = (path.relative_to(index.root).as_posix() for path in images.paths)
    return replace(images, sizes=tuple(known.get(path, (0, 0)) for path in relative))


def _clusters(rows: list[ImageRow]) -> list[int]:
    names = [row.scene or f"alone: {row.path}" for row in rows]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [number[name] for name in names]


def _pairs(group: list[int]) -> list[tuple[int, int]]:
    n = len(group)
    return [(group[i], group[(i + k) % n]) for i in range(n) for k in range(1, min(n - 1, MAX_POSITIVES) + 1)]
