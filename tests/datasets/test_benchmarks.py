"""Benchmarks of a user's own folders and of the toy city's format."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from d2n.datasets import prepare
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.ground_truth import read_ground_truth
from d2n.datasets.index import ImageRow, Index, save_index
from d2n.errors import DataError
from tests.datasets.miniatures import day_and_night, labelled, photo, transattr

SCENES = {"a": ("A", 2, 1), "b": ("A", 1, 1), "c": ("B", 2, 2), "d": ("B", 1, 2), "dark": ("B", 0, 1)}


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def _by_name(made: Benchmark) -> dict[str, list[str]]:
    return {
        query.name: [made.database[i].name for i in answer["ok"]]
        for query, answer in zip(made.queries, made.ground_truth, strict=True)
    }


def test_night_and_day_queries_from_scenes_of_the_test_fold(tmp_path: Path) -> None:
    rule = {"train_folds": ["A"], "test_folds": ["B"]}
    prepare("folders", labelled(tmp_path, SCENES), rule=rule, as_name="town")
    night, day = load_benchmarks("town", tmp_path)
    assert (night.name, day.name, night.kind) == ("town/night", "town/day", "standard")
    assert _names(night.database) == ["c-0.png", "c-1.png", "d-0.png"]
    # the query of the scene without a day image is left out
    assert _by_name(night) == {
        "c-0.png": ["c-0.png", "c-1.png"],
        "c-1.png": ["c-0.png", "c-1.png"],
        "d-0.png": ["d-0.png"],
        "d-1.png": ["d-0.png"],
    }
    assert _by_name(day) == {"c-0.png": ["c-1.png"], "c-1.png": ["c-0.png"]}
    assert [answer["junk"] for answer in day.ground_truth] == [[0], [1]]
    assert not day.self_match  # d-0 is in the database and no query


def test_the_database_may_hold_every_split(tmp_path: Path) -> None:
    rule = {"train_folds": ["A"], "test_folds": ["B"], "benchmark_database": "all"}
    prepare("folders", labelled(tmp_path, SCENES), rule=rule)
    assert len(load_benchmarks("folders", tmp_path)[0].database) == 6


def test_without_scenes_it_says_what_is_needed(tmp_path: Path) -> None:
    prepare("folders", day_and_night(tmp_path))
    with pytest.raises(DataError, match="a benchmark needs scenes"):
        load_benchmarks("folders", tmp_path)


def test_webcams_are_a_benchmark_too(tmp_path: Path) -> None:
    prepare("transattr", transattr(tmp_path, {f"0000000{i}": [0.1, 0.2, 0.95] for i in range(5)}))
    night, day = load_benchmarks("transattr", tmp_path)
    assert (len(night.queries), len(day.queries), day.self_match) == (1, 2, True)


def test_a_training_set_without_scenes_has_no_benchmark(tmp_path: Path) -> None:
    for folder in ("db", "query/day", "query/night"):
        photo(tmp_path / "images_upright" / folder / "a.jpg", len(folder))
    prepare("aachen", tmp_path)
    with pytest.raises(DataError, match="no retrieval benchmark is defined"):
        load_benchmarks("aachen", tmp_path)


def _written(root: Path, **values: Any) -> Path:
    for i in range(3):
        photo(root / "database" / f"{i}.png", i)
    photo(root / "queries" / "q.png", 9)
    truth = {
        "database": [f"database/{i}.png" for i in range(3)],
        "queries": ["queries/q.png"],
        "ground_truth": [{"ok": [2], "junk": [0]}],
        **values,
    }
    (root / "ground_truth.json").write_text(json.dumps(truth))
    return root


def test_a_written_ground_truth(tmp_path: Path) -> None:
    prepare("folders", _written(tmp_path))
    (made,) = load_benchmarks("folders", tmp_path)
    assert (made.kind, _by_name(made), made.info.counts) == (
        "standard",
        {"q.png": ["2.png"]},
        {"database": 3, "queries": 1},
    )
    assert not made.self_match


def test_easy_and_hard_make_it_a_revisited_one_with_boxes(tmp_path: Path) -> None:
    prepare("folders", _written(tmp_path, ground_truth=[{"easy": [1], "hard": [2]}], boxes=[[0, 0, 9, 9]]))
    (made,) = load_benchmarks("folders", tmp_path)
    assert (made.kind, made.ground_truth, made.boxes) == (
        "revisited",
        [{"easy": [1], "hard": [2], "junk": []}],
        ((0, 0, 9, 9),),
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ground_truth": [{"ok": [3]}]}, "ok names image 3 of a database of 3"),
        ({"ground_truth": []}, "1 queries and 0 answers"),
        ({"ground_truth": None}, "not a ground truth"),
        (
            {"queries": ["queries/other.png"]},
            "1 images of the ground truth are not in the index, first 'queries/other.png'",
        ),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, 1]]}, "2 boxes for 1 queries"),
        ({"ground_truth": [{"ok": [-1]}]}, "ok names image -1 of a database of 3"),
        ({"ground_truth": [{"ok": [1, 2, 1]}]}, "names image 1 twice in ok"),
        ({"ground_truth": [{"ok": [1], "junk": [1]}]}, "names image 1 in ok and in junk"),
        ({"ground_truth": [{"easy": [1], "hard": [1]}]}, "names image 1 in easy and in hard"),
        ({"ground_truth": [{"ok": [], "junk": [1]}]}, r"no query of folders has a right answer \(ok\)"),
        ({"ground_truth": [{"easy": [], "junk": [1]}]}, r"has a right answer \(easy or hard\)"),
        ({"database": []}, "1 queries and 0 images in the database"),
        ({"queries": [], "ground_truth": []}, "0 queries and 3 images"),
        (
            {"database": ["database/0.png", "database/1.png", "database/0.png"]},
            "names 'database/0.png' twice",
        ),
        ({"boxes": [[30, 0, 9, 9]]}, r"q\.png: its box \[30, 0, 9, 9\] is turned round"),
        ({"boxes": [[0, 30, 9, 9]]}, "is turned round"),
        ({"boxes": [[5, 5, 5.2, 30]]}, "is empty"),
        ({"boxes": [[0, 0, 0, 0]]}, "is empty"),
        ({"boxes": [[100, 100, 140, 140]]}, "leaves the image; expected .* within 48 x 40"),
        ({"boxes": [[-20, 0, 30, 30]]}, "leaves the image"),
        ({"boxes": [[0, 0, 48, 60]]}, "leaves the image"),
        ({"boxes": [[0, 0, float("nan"), 9]]}, "ground_truth"),
    ],
)
def test_a_wrong_ground_truth_is_one_line(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    prepare("folders", _written(tmp_path, **values))
    with pytest.raises(DataError, match=says) as caught:
        load_benchmarks("folders", tmp_path)
    assert "\n" not in str(caught.value)


def test_several_query_sets_against_one_database(tmp_path: Path) -> None:
    rows = []
    for i, name in enumerate(("db0", "db1", "day", "night")):
        photo(tmp_path / f"{name}.png", i)
        rows.append(ImageRow(f"{name}.png", "day", "", "val", 48, 40, f"{i:064x}"))
    save_index(Index("toycity", tmp_path, {"seed": 0}, tuple(rows)), tmp_path)
    truth = {
        "database": ["db0.png", "db1.png"],
        "queries": {"day": ["day.png"], "night": ["night.png"]},
        "ground_truth": {"day": [{"ok": [0], "junk": []}], "night": [{"ok": [1], "junk": []}]},
    }
    (tmp_path / "benchmark_val.json").write_text(json.dumps(truth))
    day, night = load_benchmarks("toycity", tmp_path, split="val")
    assert (day.name, night.name) == ("toycity/day", "toycity/night")
    assert (day.ground_truth, night.ground_truth) == ([{"ok": [0], "junk": []}], [{"ok": [1], "junk": []}])
    assert day.info.digest != night.info.digest
    with pytest.raises(DataError, match=r"benchmark_test\.json: no ground truth"):
        load_benchmarks("toycity", tmp_path)


def test_an_absent_or_broken_json_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ground truth; expected JSON"):
        read_ground_truth(tmp_path / "ground_truth.json", "x")
    (tmp_path / "ground_truth.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="not a ground truth"):
        read_ground_truth(tmp_path / "ground_truth.json", "x")


def test_a_box_may_be_rounded_over_the_border(tmp_path: Path) -> None:
    prepare("folders", _written(tmp_path, boxes=[[-0.5, 0, 48.6, 40]]))
    (made,) = load_benchmarks("folders", tmp_path)
    assert made.boxes == ((-0.5, 0, 48.6, 40),)
    assert (made.database_sizes, made.query_sizes) == (((48, 40),) * 3, ((48, 40),))


def test_a_part_without_answers_is_told(tmp_path: Path) -> None:
    prepare("folders", _written(tmp_path, ground_truth=[{"easy": [1], "hard": [], "junk": []}]))
    assert load_benchmarks("folders", tmp_path)[0].undefined == ("hard",)


def test_a_ground_truth_may_write_accents_in_the_other_form(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    photo(tmp_path / "queries" / f"{split}.png", 33)
    prepare("folders", _written(tmp_path, queries=[f"queries/{composed}.png"]))
    assert _names(load_benchmarks("folders", tmp_path)[0].queries) == [f"{split}.png"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"okay": [0]}, "an answer holds 'okay', expected ok, junk; did you mean 'ok'"),
        ({"ok": [0], "bbx": [0, 0, 5, 5]}, "a box in an answer .*, expected all of them in boxes"),
        ({"easy": [0], "hrad": [], "junk": []}, "expected easy, hard, junk; did you mean 'hard'"),
        ({"easy": [0], "ok": [0]}, "an answer holds 'ok'"),
    ],
)
def test_a_list_that_no_one_reads_is_refused(tmp_path: Path, answer: dict[str, Any], says: str) -> None:
    path = tmp_path / "ground_truth.json"
    path.write_text(json.dumps({"database": ["a.jpg"], "queries": ["b.jpg"], "ground_truth": [answer]}))
    with pytest.raises(DataError, match=says):
        read_ground_truth(path, "mine")
