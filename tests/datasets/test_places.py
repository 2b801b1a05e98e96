"""SVOX, MSLS and Nordland in the layout of place recognition benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.benchmarks import load_benchmarks
from d2n.errors import DataError
from tests.datasets.miniatures import photo


def place(folder: Path, *easts: float) -> None:
    for i, east in enumerate(easts):
        photo(folder / f"@{east:09.2f}@4178834.40@10@S@{i}@.jpg", i)


def test_svox_has_its_queries_by_weather_and_by_night(tmp_path: Path) -> None:
    test = tmp_path / "images" / "test"
    place(test / "gallery", 0, 20, 100)
    place(test / "queries", 10)
    place(test / "queries_night", 95, 300)
    place(test / "queries_rain", 21)
    (test / "queries_by_me").mkdir()
    index = prepare("svox", tmp_path)
    made = {one.name: one for one in load_benchmarks("svox", tmp_path)}
    assert list(made) == ["svox", "svox/night", "svox/rain"]
    assert {name: [answer["ok"] for answer in one.ground_truth] for name, one in made.items()} == {
        "svox": [[0, 1]], "svox/night": [[2], []], "svox/rain": [[0, 1]],
    }  # fmt: skip
    assert made["svox/night"].query_conditions == ("night", "night")
    assert (made["svox"].kind, len(made["svox/rain"].database)) == ("place", 3)
    assert index.facts["gallery"] == 3


@pytest.mark.parametrize(
    ("name", "folder"),
    [("msls", "images/val"), ("msls", "val"), ("nordland", "images/test"), ("nordland", ".")],
)
def test_msls_and_nordland_are_found_where_they_lie(tmp_path: Path, name: str, folder: str) -> None:
    place(tmp_path / folder / "database", 0, 50)
    place(tmp_path / folder / "queries", 48)
    prepare(name, tmp_path)
    (made,) = load_benchmarks(name, tmp_path)
    assert (made.name, made.ground_truth) == (name, [{"ok": [1], "junk": []}])


def test_what_is_no_such_layout_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images/val/database with images/val/queries") as caught:
        prepare("msls", tmp_path)
    assert "\n" not in str(caught.value)
    place(tmp_path / "images" / "val" / "database", 0)
    photo(tmp_path / "images" / "val" / "queries" / "somewhere.jpg", 1)
    prepare("msls", tmp_path)
    with pytest.raises(DataError, match=r"somewhere\.jpg: no @utm_east@utm_north@ in its name"):
        load_benchmarks("msls", tmp_path)
