"""24/7 Tokyo: both protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.benchmarks import load_benchmarks
from d2n.errors import DataError
from tests.datasets.miniatures import photo, tokyo


def test_map_of_every_image_against_all(tmp_path: Path) -> None:
    index = prepare("tokyo247", tokyo(tmp_path, tiles=False))
    (made,) = load_benchmarks("tokyo247", tmp_path)
    assert (made.name, made.kind, made.self_match, made.boxes) == ("tokyo247", "standard", True, None)
    assert made.database == made.queries
    assert made.ground_truth[1] == {"ok": [0, 2], "junk": [1]}
    assert [row.domain for row in index.rows] == ["day", "", "night"] * 2


def test_place_recognition_within_25_m_with_png_tiles(tmp_path: Path) -> None:
    index = prepare("tokyo247", tokyo(tmp_path))
    place = load_benchmarks("tokyo247", tmp_path)[1]
    assert (place.name, place.kind, place.self_match) == ("tokyo247/place", "place", False)
    assert [path.name for path in place.database] == [f"tile_{i}.png" for i in range(4)]
    assert [path.name for path in place.queries] == ["00001.jpg", "00004.jpg"]
    # queries at 0 m and 65 m, tiles at 0, 20, 40 and 60 m
    assert [answer["ok"] for answer in place.ground_truth] == [[0, 1], [2, 3]]
    assert index.facts["place_database"] == 4


def test_a_missing_tile_is_named(tmp_path: Path) -> None:
    tokyo(tmp_path)
    (tmp_path / "tiles" / "00001" / "tile_2.png").unlink()
    with pytest.raises(DataError, match=r"tiles/00001/tile_2\.png: no such file"):
        prepare("tokyo247", tmp_path)


@pytest.mark.parametrize("text", ["00001.jpg,35,139", "00001.jpg,35,139,0,0,X"])
def test_a_light_that_does_not_parse_is_one_line(tmp_path: Path, text: str) -> None:
    tokyo(tmp_path)
    (tmp_path / "247tokyo1k" / "jpg" / "00001.csv").write_text(text)
    with pytest.raises(DataError, match=r"00001\.csv: .* expected a sixth value D, S or N"):
        prepare("tokyo247", tmp_path)


def test_a_damaged_mat_is_one_line(tmp_path: Path) -> None:
    tokyo(tmp_path)
    (tmp_path / "tokyo247.mat").write_bytes(b"x" * 300)
    with pytest.raises(DataError, match=r"tokyo247\.mat: no dbStruct can be read"):
        prepare("tokyo247", tmp_path)


def test_places_by_the_coordinates_in_the_names(tmp_path: Path) -> None:
    for i, (folder, east) in enumerate([("database", 0), ("database", 24), ("database", 60), ("queries", 1)]):
        photo(tmp_path / folder / f"@{east}.0@100.5@17@S@@@@@@@@@@@@.jpg", i)
    prepare("folders", tmp_path, as_name="places")
    (made,) = load_benchmarks("places", tmp_path)
    assert (made.name, made.kind) == ("places", "place")
    by_name = {path.name.split("@")[1]: i for i, path in enumerate(made.database)}
    assert made.ground_truth == [{"ok": sorted([by_name["0.0"], by_name["24.0"]]), "junk": []}]


def test_names_without_coordinates_are_one_line(tmp_path: Path) -> None:
    photo(tmp_path / "database" / "a.jpg")
    photo(tmp_path / "queries" / "b.jpg", 1)
    prepare("folders", tmp_path)
    with pytest.raises(DataError, match=r"database/a\.jpg: no @utm_east@utm_north@"):
        load_benchmarks("folders", tmp_path)
