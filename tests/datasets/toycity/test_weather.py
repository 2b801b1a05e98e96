"""The toy city by dusk and in rain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from d2n.datasets import toycity
from d2n.datasets.directions import directed, known_domains
from d2n.datasets.images import load_rgb
from d2n.datasets.index import Index
from d2n.datasets.toycity.plan import plan
from d2n.errors import DataError

SMALL = 0.02


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = tmp_path_factory.mktemp("city") / "toycity"
    return toycity.make(root, seed=0, scale=SMALL, workers=1, conditions=["rain", "dusk"])


def _means(index: Index, domain: str, split: str = "train") -> float:
    rows = [row for row in index.select(split=split) if domain in row.labels]
    return float(np.mean([load_rgb(index.path(row)).mean() for row in rows[:12]]))


def test_day_and_night_are_those_of_the_city_without_them(city: Index) -> None:
    rows = [row for row in city.rows if row.domain]
    place = {row.path: i for i, row in enumerate(rows)}
    pairs = tuple((place[day.path], place[night.path]) for day, night in city.select_pairs())
    bare = Index("toycity", city.root, {}, tuple(rows), pairs)
    assert bare.digest.startswith("9e20cec6")


def test_every_split_but_retrieval_has_photos_of_each_condition(city: Index) -> None:
    for domain in ("dusk", "rain"):
        counts = [sum(row.condition == domain for row in city.select(split=s)) for s in toycity.SPLITS]
        assert counts == [0, 24, 24, 24]
    assert set(known_domains(city)) == {"day", "night", "dusk", "rain"}
    found = directed(city, ("dusk", "night"))
    assert len(found.select("dusk", "train")) == 24


def test_dusk_lies_between_day_and_night_and_rain_has_no_sun(city: Index) -> None:
    assert _means(city, "night") < _means(city, "dusk") < _means(city, "day")
    contrast = {
        domain: np.mean(
            [load_rgb(city.path(row)).std() for row in city.select(split="train") if domain in row.labels]
        )
        for domain in ("day", "rain")
    }
    assert contrast["rain"] < contrast["day"]


def test_a_city_with_more_serves_who_asks_for_less(city: Index) -> None:
    assert toycity.make(city.root, seed=0, scale=SMALL, workers=1).rows == city.rows
    again = toycity.make(city.root, seed=0, scale=SMALL, workers=1, conditions=["dusk"])
    assert again.digest == city.digest


def test_conditions_join_a_city_by_rebuild_alone(tmp_path: Path) -> None:
    before = toycity.make(tmp_path / "c", seed=0, scale=SMALL, workers=1)
    first = before.path(before.rows[0])
    written = first.stat().st_mtime_ns
    with pytest.raises(DataError, match="conditions dusk; give another folder"):
        toycity.make(tmp_path / "c", seed=0, scale=SMALL, workers=1, conditions=["dusk"])
    after = toycity.make(tmp_path / "c", seed=0, scale=SMALL, workers=1, conditions=["dusk"], rebuild=True)
    assert len(after.rows) == len(before.rows) + 72
    assert first.stat().st_mtime_ns == written


def test_further_photos_have_views_of_their_own_in_training() -> None:
    paths = [shot.path for job in plan(SMALL, ["dusk", "rain"]) for shot in job.shots]
    assert len(paths) == len(set(paths))


def test_an_unknown_condition_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="condition 'fog', expected some of dusk, rain"):
        toycity.make(tmp_path / "c", conditions=["fog"])
