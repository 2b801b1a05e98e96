"""Revisited Oxford and Paris."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.benchmarks import load_benchmarks
from d2n.errors import DataError
from tests.datasets.miniatures import dump, revisited


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_queries_boxes_and_answers(tmp_path: Path, name: str, arrays: bool) -> None:
    index = prepare(name, revisited(tmp_path, name, arrays))
    (made,) = load_benchmarks(name, tmp_path)
    assert (made.name, made.kind, made.self_match) == (name, "revisited", False)
    assert [path.name for path in made.queries] == ["query_a.jpg", "query_b.jpg"]
    assert [path.name for path in made.database] == [f"all_souls_{i:06d}.jpg" for i in range(4)]
    assert made.boxes == ((1.0, 2.0, 30.5, 31.0), (0.0, 0.0, 20.0, 20.0))
    assert made.ground_truth == [
        {"easy": [0, 1], "hard": [2], "junk": [3]},
        {"easy": [], "hard": [3], "junk": []},
    ]
    assert all(path.is_file() for path in (*made.database, *made.queries))
    assert {row.split for row in index.rows} == {"test"}


def test_any_folder_above_is_a_root_too(tmp_path: Path) -> None:
    revisited(tmp_path)
    for root in (tmp_path, tmp_path / "test", tmp_path / "test" / "roxford5k"):
        prepare("roxford5k", root)
        assert all(path.is_file() for path in load_benchmarks("roxford5k", root)[0].queries)


def test_a_published_benchmark_has_no_val(tmp_path: Path) -> None:
    prepare("roxford5k", revisited(tmp_path))
    with pytest.raises(DataError, match=r"no split 'val'; set evaluation\.split=test"):
        load_benchmarks("roxford5k", tmp_path, split="val")


def test_the_fingerprint_covers_answers_and_images(tmp_path: Path) -> None:
    prepare("roxford5k", revisited(tmp_path / "a"))
    prepare("roxford5k", revisited(tmp_path / "b", arrays=True))
    one, two = (load_benchmarks("roxford5k", tmp_path / folder)[0].info for folder in "ab")
    assert one.digest == two.digest
    gnd = {"imlist": ["all_souls_000000"], "qimlist": ["query_a"]}
    answer = {"bbx": [0, 0, 9, 9], "easy": [0], "hard": [], "junk": []}
    dump(tmp_path / "b" / "test" / "roxford5k" / "gnd_roxford5k.pkl", {**gnd, "gnd": [answer]})
    assert load_benchmarks("roxford5k", tmp_path / "b")[0].info.digest != one.digest


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"imlist": [], "qimlist": []}, "expected imlist, qimlist and gnd"),
        (
            {"imlist": ["a"], "qimlist": ["a"], "gnd": [{"bbx": [1, 2], "easy": [], "hard": [], "junk": []}]},
            "2 numbers",
        ),
    ],
)
def test_a_ground_truth_of_another_shape(tmp_path: Path, values: object, says: str) -> None:
    dump(tmp_path / "gnd_roxford5k.pkl", values)
    with pytest.raises(DataError, match=says):
        prepare("roxford5k", tmp_path)


def test_an_answer_outside_the_database_is_refused(tmp_path: Path) -> None:
    revisited(tmp_path)
    answer = {"bbx": [0, 0, 9, 9], "easy": [4], "hard": [], "junk": []}
    values = {"imlist": [f"all_souls_{i:06d}" for i in range(4)], "qimlist": ["query_a"], "gnd": [answer]}
    dump(tmp_path / "test" / "roxford5k" / "gnd_roxford5k.pkl", values)
    prepare("roxford5k", tmp_path)
    with pytest.raises(DataError, match="easy names image 4 of a database of 4"):
        load_benchmarks("roxford5k", tmp_path)
