"""Queries and positives from scenes."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets.index import ImageRow, Index
from d2n.datasets.tuples import MAX_POSITIVES, retrieval_set
from d2n.errors import DataError


def _index(*rows: tuple[str, str, str]) -> Index:
    made = (
        ImageRow(f"{i}.png", domain, scene, split, 8, 8, f"{i:064x}")
        for i, (domain, scene, split) in enumerate(rows)
    )
    return Index("folders", Path("/data"), {}, tuple(made))


def test_every_ordered_pair_of_a_scene(tmp_path: Path) -> None:
    index = _index(
        ("day", "a", "train"),
        ("night", "a", "train"),
        ("day", "b", "train"),
        ("day", "a", "train"),
        ("day", "", "train"),
        ("day", "a", "val"),
        ("day", "a", "train"),
    )
    made = retrieval_set(index)
    assert [path.name for path in made.paths] == ["0.png", "2.png", "3.png", "4.png", "6.png"]
    assert made.clusters == (0, 1, 0, 2, 0)
    assert set(zip(made.query_idx, made.positive_idx, strict=True)) == {
        (0, 2),
        (0, 4),
        (2, 0),
        (2, 4),
        (4, 0),
        (4, 2),
    }


def test_the_retrieval_split_goes_before_train() -> None:
    rows = [("day", "a", "train")] * 2 + [("day", "b", "retrieval")] * 2
    assert [path.name for path in retrieval_set(_index(*rows)).paths] == ["2.png", "3.png"]


def test_a_crowded_scene_gives_a_bounded_number_of_positives() -> None:
    made = retrieval_set(_index(*[("day", "a", "train")] * 50))
    assert len(made.query_idx) == 50 * MAX_POSITIVES
    assert all(q != p for q, p in zip(made.query_idx, made.positive_idx, strict=True))
    assert len(set(zip(made.query_idx, made.positive_idx, strict=True))) == 50 * MAX_POSITIVES


def test_without_scenes_it_says_what_is_needed() -> None:
    with pytest.raises(DataError, match="no scene of the 2 day images to train on has two of them"):
        retrieval_set(_index(("day", "", "train"), ("day", "", "train")))
