"""Real photographs and public-format miniatures, where the machine has them (D2N_TEST_DATA)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from d2n.datasets import SETS, open_index, prepare
from d2n.datasets.benchmarks import load_benchmarks
from d2n.datasets.tuples import retrieval_set
from d2n.datasets.verifying import verify_index

pytestmark = pytest.mark.shared_data


def test_webcams_with_scenes_folds_and_pairs(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "amos_daynight"
    index = prepare("folders", root, out=tmp_path)
    assert (len(index.select("day")), len(index.select("night")), len(index.pairs)) == (199, 200, 3005)
    assert sum(len(index.select_pairs(split)) for split in ("train", "val", "test")) == 3005
    assert verify_index(SETS["folders"], index) == []
    folds = open_index("folders", index=tmp_path, rule={"train_folds": ["A"], "test_folds": ["B"]})
    assert len(folds.select_pairs("test")) == 1564
    assert len(folds.select_pairs("train")) + len(folds.select_pairs("val")) == 1441


@pytest.mark.parametrize(("fold", "other", "num_queries"), [("A", "B", 93), ("B", "A", 103)])
def test_night_queries_of_a_fold_against_all_days_as_their_file_says(
    shared_data: Path, tmp_path: Path, fold: str, other: str, num_queries: int
) -> None:
    root = shared_data / "amos_daynight"
    rule = {"train_folds": [other], "test_folds": [fold], "benchmark_database": "all"}
    prepare("folders", root, out=tmp_path, rule=rule, as_name="webcams")
    night = load_benchmarks("webcams", tmp_path)[0]
    truth = json.loads((root / "retrieval_night2day.json").read_text())
    expected = {
        query["query"]: {truth["db"][i] for i in query["ok"]}
        for query in truth["queries"]
        if query["fold"] == fold
    }
    found = {
        query.relative_to(root).as_posix(): {
            night.database[i].relative_to(root).as_posix() for i in answer["ok"]
        }
        for query, answer in zip(night.queries, night.ground_truth, strict=True)
    }
    assert found == expected
    assert (len(night.queries), len(night.database)) == (num_queries, 199)


@pytest.mark.parametrize(
    ("name", "folder", "rule", "counts"),
    [
        ("transattr", "transient", {}, {"day": 8, "night": 4, "pairs": 16}),
        ("aachen", "aachen", {}, {"day": 11, "night": 3, "pairs": 0}),
        ("robotcar", "robotcar", {}, {"day": 10, "night": 4, "pairs": 0}),
        ("rsfm", ".", {"min_side_px": 64}, {"day": 24, "night": 6, "pairs": 0}),
        ("rsfm", "train", {"min_side_px": 80}, {"day": 8, "night": 2, "pairs": 0}),
    ],
)
def test_training_formats(
    shared_data: Path, tmp_path: Path, name: str, folder: str, rule: dict[str, Any], counts: dict[str, int]
) -> None:
    index = prepare(name, shared_data / "mini_formats" / folder, out=tmp_path, rule=rule)
    found = {"day": len(index.select("day")), "night": len(index.select("night")), "pairs": len(index.pairs)}
    assert found == counts


def test_retrieval_tuples(shared_data: Path, tmp_path: Path) -> None:
    index = prepare("rsfm", shared_data / "mini_formats", out=tmp_path, rule={"min_side_px": 0})
    tuples = retrieval_set(index)
    assert (len(tuples.paths), len(tuples.query_idx)) == (30, 12)
    assert all(path.is_file() for path in tuples.paths)
    for query, positive in zip(tuples.query_idx, tuples.positive_idx, strict=True):
        assert tuples.clusters[query] == tuples.clusters[positive]


@pytest.mark.parametrize(("name", "database", "queries"), [("roxford5k", 12, 2), ("tokyo247", 18, 18)])
def test_evaluation_formats(
    shared_data: Path, tmp_path: Path, name: str, database: int, queries: int
) -> None:
    prepare(name, shared_data / "mini_formats", out=tmp_path)
    (made,) = load_benchmarks(name, tmp_path)
    assert (len(made.database), len(made.queries)) == (database, queries)
