"""Retrieval-SfM: the size rule, clusters as scenes, tuples from the pickle."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.rsfm import image_path, validation_tuples, whitening_tuples
from d2n.datasets.tuples import retrieval_set
from d2n.errors import DataError
from tests.datasets.miniatures import dump, photo, rsfm


def test_both_sides_have_at_least_512_px(tmp_path: Path) -> None:
    rsfm(tmp_path, size=(512, 512))
    base = tmp_path / "retrieval-SfM-120k"
    first = (base / "dataset" / "train_day.txt").read_text().splitlines()[0]
    photo(base / "ims" / first, 0, (800, 511), "JPEG")
    index = prepare("rsfm", tmp_path)
    assert (len(index.select("day")), len(index.select("night"))) == (11, 4)
    assert dict(index.facts) == {"listed_day": 12, "listed_night": 4, "too_small": 1}


def test_a_set_of_small_images_alone_says_why_it_is_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 day images \(0 bad, 16 under 512 px\)"):
        prepare("rsfm", rsfm(tmp_path))


def test_clusters_are_scenes_and_not_divided(tmp_path: Path) -> None:
    index = prepare("rsfm", rsfm(tmp_path), rule={"min_side_px": 0})
    assert {row.scene for row in index.select("day")} == {"0", "1", "2", "3"}
    scenes = [{row.scene for row in index.select(split=split)} for split in ("train", "val", "test")]
    assert [len(names) for names in scenes] == [2, 1, 1]
    assert len(index.select(split="retrieval")) == 2  # of the pickle alone, no domain


def test_tuples_are_the_pickles_own(tmp_path: Path) -> None:
    index = prepare("rsfm", rsfm(tmp_path), rule={"min_side_px": 0})
    tuples = retrieval_set(index)
    assert (len(tuples.paths), tuples.query_idx, tuples.positive_idx) == (16, (0, 4, 8, 12), (1, 5, 9, 13))
    assert tuples.clusters == tuple(i // 4 for i in range(16))
    assert all(path.is_file() for path in tuples.paths)
    assert (len(validation_tuples(index).paths), len(whitening_tuples(index).paths)) == (2, 18)


def test_the_path_of_a_cid() -> None:
    assert image_path("93d7cd6ce8ca79f85dcee05872e8059d") == "9d/05/e8/93d7cd6ce8ca79f85dcee05872e8059d"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"train": {"cids": []}, "val": {}}, "no part 'val'"),
        ([1, 2], "no part 'val'"),
        (
            {
                "val": {"cids": ["a" * 32], "cluster": [], "qidxs": [], "pidxs": []},
                "train": {"cids": [], "cluster": [], "qidxs": [], "pidxs": []},
            },
            "1 cids and 0 clusters",
        ),
    ],
)
def test_pickles_of_another_shape(tmp_path: Path, values: object, says: str) -> None:
    rsfm(tmp_path)
    dump(tmp_path / "retrieval-SfM-120k" / "retrieval-SfM-120k.pkl", values)
    with pytest.raises(DataError, match=says):
        prepare("rsfm", tmp_path)


def test_tuples_beyond_the_images_are_refused(tmp_path: Path) -> None:
    index = prepare("rsfm", rsfm(tmp_path), rule={"min_side_px": 0})
    part = {"cids": ["a" * 32], "cluster": [0], "qidxs": [0], "pidxs": [1]}
    dump(tmp_path / "retrieval-SfM-120k" / "retrieval-SfM-120k.pkl", {"train": part, "val": part})
    with pytest.raises(DataError, match="do not index its 1 images"):
        retrieval_set(index)
