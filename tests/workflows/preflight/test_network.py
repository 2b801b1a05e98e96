"""What is refused before a retrieval network trains, and the part of a benchmark that is left out."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d2n.config import NetworkConfig, RetrievalExperiment, build_experiment
from d2n.datasets import open_index, prepare
from d2n.datasets.benchmarks import load_benchmarks
from d2n.datasets.tuples import retrieval_set
from d2n.errors import ConfigError, D2NError, RetrievalError
from d2n.tracking import runs
from d2n.workflows import preflight, retrieve
from d2n.workflows.preflight import network as network_preflight
from tests.datasets.miniatures import photo, table

VALUES = {
    "kind": "retrieval",
    "name": "r",
    "dataset": {"name": "folders", "root": "ret"},
    "network": {"backbone": "toy"},
    "training": {"n_epochs": 1, "num_queries": 4, "pool_size": 50, "num_negatives": 2, "image_size_px": 64,
                 "num_threads": 1, "device": "cpu"},
    "evaluation": {"benchmarks": ["folders"], "image_size_px": 64, "scales": [1.0], "whitening": "none"},
}  # fmt: skip


def _made(root: Path, small: tuple[int, int] = (64, 48), **truth: Any) -> None:
    """Four scenes of two views to train on, three database images (the first of them ``small``) and queries."""
    rows = []
    for scene in range(4):
        for view in range(2):
            path = photo(root / "day" / f"{scene}-{view}.png", 10 * scene + view, (64, 48))
            rows.append((path.relative_to(root).as_posix(), "day", f"s{scene}", "train"))
    table(root / "labels.csv", ("image", "domain", "scene", "split"), rows)
    for i in range(3):
        photo(root / "database" / f"{i}.png", 100 + i, (64, 48) if i else small)
        photo(root / "queries" / f"{i}.png", 200 + i, (64, 48))
    values = {
        "database": [f"database/{i}.png" for i in range(3)],
        "queries": [f"queries/{i}.png" for i in range(3)],
        "ground_truth": [{"easy": [i], "hard": [], "junk": []} for i in range(3)],
    }
    (root / "ground_truth.json").write_text(json.dumps(values | truth))
    prepare("folders", root)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with contextlib.chdir(tmp_path):
        yield tmp_path


def _check(*overrides: str) -> None:
    experiment = build_experiment(VALUES, overrides)
    assert isinstance(experiment, RetrievalExperiment)
    preflight.check_knobs(experiment)
    images, benchmarks = retrieval_set(open_index("folders", "ret")), load_benchmarks("folders", "ret")
    network_preflight.check_retrieval(experiment, images, benchmarks, 5000)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("register_as=a/b", "register_as is 'a/b', which is no name"),
        ("register_as=''", "register_as is ''"),
        ("evaluation.benchmarks=[]", "evaluation.benchmarks is empty"),
        ("training.patience=2", "nothing tells when to stop"),
        ("network.light=photometric", "network.light_weights names no file"),
        ("network.light_weights=a.pth", "network.light none takes none"),
        ("evaluation.roots={folder: ret}", "roots names 'folder', which is none of evaluation.benchmarks"),
        ("evaluation.scales=[1.0, 0]", "scales"),
        ("evaluation.scales=[-1]", "scales"),
        ("training.num_negatives=4", "4 clusters, which leaves 3 besides the query's; expected at least 4"),
        ("training.pool_size=1", "a pool of 1 images has 1 clusters"),
        ("training.image_size_px=16", "day/0-0.png: the network would see 16 x 12 px of it in training"),
        ("evaluation.image_size_px=16", "the network would see 16 x 12 px of it in folders, and it needs"),
        ("evaluation.scales=[1.0, 0.2]", "the network would see 12 x 9 px of it in folders"),
    ],
)
def test_what_can_never_be_is_one_line(folder: Path, override: str, says: str) -> None:
    _made(folder / "ret")
    _check()
    with pytest.raises(D2NError, match=says) as caught:
        _check(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("whitening", "dim", "most"),
    [("learned", 129, 128), ("pca", 8, 7), ("learned", 128, None), ("pca", 7, None)],
)
def test_dimensions_that_whitening_can_have(folder: Path, whitening: str, dim: int, most: int | None) -> None:
    _made(folder / "ret")
    overrides = (f"evaluation.whitening={whitening}", f"evaluation.whitening_dim={dim}")
    if most is None:
        _check(*overrides)
        return
    with pytest.raises(ConfigError, match=f"whitening_dim is {dim}: .*expected 1 to {most}$"):
        _check(*overrides)


def test_one_scene_cannot_be_told_apart(folder: Path) -> None:
    _made(folder / "ret")
    images = retrieval_set(open_index("folders", "ret"))
    experiment = build_experiment(VALUES, ["pretraining.n_epochs=1", "training.n_epochs=0"])
    assert isinstance(experiment, RetrievalExperiment)
    one = type(images)(images.paths, (0,) * len(images.paths), images.query_idx, images.positive_idx)
    with pytest.raises(RetrievalError, match="has 1; expected at least 2"):
        network_preflight.check_retrieval(experiment, one, [], 5000)


def test_a_small_image_or_box_is_named_by_its_path(folder: Path) -> None:
    _made(folder / "ret", small=(20, 20))
    _check()
    with pytest.raises(
        RetrievalError, match=r"database/0\.png: the network would see 10 x 10 px of it in folders"
    ):
        _check("evaluation.scales=[1.0,0.5]")
    _check("evaluation.square=true", "evaluation.scales=[1.0,0.5]")
    _made(folder / "ret", boxes=[[0, 0, 64, 48], [0, 0, 64, 9], [0, 0, 64, 48]])
    with pytest.raises(RetrievalError, match=r"queries/1\.png: the network would see 64 x 9 px"):
        _check()


def test_a_part_without_answers_is_left_out_and_the_others_are_kept(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _made(folder / "ret")
    experiment = build_experiment(VALUES)
    assert isinstance(experiment, RetrievalExperiment)
    store = runs.open_store(f"sqlite:///{folder}/mlflow.db")
    done = retrieve.retrieve(experiment, store=store)
    record = store.get(done.run_id)
    assert record.status == "FINISHED"
    assert {"map/folders", "map_easy/folders", "map_medium/folders"} <= set(record.metrics)
    assert "map_hard/folders" not in record.metrics
    assert all(math.isfinite(value) for value in record.metrics.values())
    assert "folders: no query has a right answer of kind hard" in caplog.text


def test_a_refused_experiment_leaves_no_run(folder: Path) -> None:
    _made(folder / "ret")
    store = runs.open_store(f"sqlite:///{folder}/mlflow.db")
    experiment = build_experiment(VALUES, ["training.num_negatives=4"])
    assert isinstance(experiment, RetrievalExperiment)
    with pytest.raises(RetrievalError, match="leaves 3 besides"):
        retrieve.retrieve(experiment, store=store)
    assert store.find_runs(experiment="d2n/folders") == []


@pytest.mark.parametrize(
    ("named", "is_registered"),
    [
        ("d2n-toycity.night-day@champion", True),
        ("models:/d2n-toycity.night-day@champion", True),
        ("d2n-toycity.night-day/3", True),
        ("0123456789abcdef0123456789abcdef", True),
        ("photometric.pth", False),
        ("folder/photometric.pth", False),
        ("folder/photometric@2.pth", False),
        (None, False),
    ],
)
def test_what_the_light_slot_names_in_the_registry(named: str | None, is_registered: bool) -> None:
    config = NetworkConfig(light="photometric", light_weights=named)
    assert preflight.light_reference(config) == (named if is_registered else None)
