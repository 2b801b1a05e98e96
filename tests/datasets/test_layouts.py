"""The public pickle layouts, read back as those of the published sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.datasets import prepare
from d2n.datasets.benchmarks import ground_truths, load_benchmarks
from d2n.datasets.layouts import write_benchmark_pickle, write_training_pickles
from d2n.datasets.rsfm import image_path
from d2n.datasets.tuples import retrieval_set
from d2n.errors import DataError
from d2n.files.pickle import read_pickle
from tests.datasets.miniatures import day_and_night, labelled

SCENES = {f"s{i}": ("A", 3, 2) for i in range(6)}


def test_the_training_pickle_holds_the_tuples_and_links(tmp_path: Path) -> None:
    index = prepare("folders", labelled(tmp_path / "data", SCENES))
    tuples = retrieval_set(index)
    written = write_training_pickles(index, tmp_path / "out")
    assert [path.name for path in written] == ["folders.pkl", "folders-whiten.pkl"]
    values = read_pickle(written[0])
    train = values["train"]
    assert (train["cluster"], train["qidxs"], train["pidxs"]) == tuple(
        map(list, (tuples.clusters, tuples.query_idx, tuples.positive_idx))
    )
    links = [tmp_path / "out" / "ims" / image_path(cid) for cid in train["cids"]]
    assert [link.resolve() for link in links] == list(tuples.paths)
    assert len(values["val"]["cids"]) == 3
    assert read_pickle(written[1]) == {key: train[key] for key in ("cids", "qidxs", "pidxs")}
    assert write_training_pickles(index, tmp_path / "out") == written  # again, over itself


def test_the_benchmark_pickle_reads_back(tmp_path: Path) -> None:
    index = prepare("folders", labelled(tmp_path / "data", SCENES))
    truth = ground_truths(index, "test")[0]
    path = write_benchmark_pickle(index, truth, tmp_path / "out")
    assert path == tmp_path / "out" / "folders-night" / "gnd_folders-night.pkl"
    values = read_pickle(path)
    made = load_benchmarks("folders", tmp_path / "data")[0]
    assert [answer["ok"] for answer in values["gnd"]] == [answer["ok"] for answer in made.ground_truth]
    links = [path.parent / "jpg" / f"{name}.jpg" for name in values["imlist"]]
    assert [link.resolve() for link in links] == list(made.database)


def test_without_scenes_there_is_nothing_to_write(tmp_path: Path) -> None:
    index = prepare("folders", day_and_night(tmp_path / "data"))
    with pytest.raises(DataError, match="retrieval training needs scenes"):
        write_training_pickles(index, tmp_path / "out")
    assert not (tmp_path / "out").exists()
