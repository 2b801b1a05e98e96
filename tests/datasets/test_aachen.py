"""Aachen Day-Night."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.errors import DataError
from tests.datasets.miniatures import photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folders = {"db": 4, "query/day/milestone": 2, "query/day/nexus4": 1, "query/day/nexus5x": 1}
    folders |= {
        "query/night/milestone": 2,
        "query/night/nexus5x": 1,
        "query/night/nexus5x_additional_night": 2,
    }
    seed = 0
    for folder, n in folders.items():
        for i in range(n):
            seed += 1
            photo(tmp_path / "images_upright" / folder / f"{i}.jpg", seed)
    return tmp_path


def test_database_and_day_queries_are_day_and_night_queries_night(root: Path) -> None:
    index = prepare("aachen", root)
    assert (len(index.select("day")), len(index.select("night")), index.pairs) == (8, 3, ())


def test_the_additional_night_queries_are_a_knob(root: Path) -> None:
    assert len(prepare("aachen", root, rule={"additional_night": True}).select("night")) == 5


def test_a_folder_of_another_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "imageAlignedLD").mkdir()
    with pytest.raises(DataError, match=r"holds no images_upright; .* holds imageAlignedLD"):
        prepare("aachen", tmp_path)
