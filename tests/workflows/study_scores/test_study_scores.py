"""The experiment once, as small as it goes: three generators, one seed, and another seed added to its table."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2n.config import RetrievalExperiment, build_experiment, translator_config
from d2n.datasets import toycity
from d2n.errors import ConfigError, D2NError, DataError
from d2n.tracking import runs
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.workflows import study_scores
from d2n.workflows.study_scores import table
from tests.workflows.conftest import TINY_RETRIEVAL

SCORED_BY = {
    "preset": "toy",
    "dataset": {"name": "toycity", "image_size_px": 32},
    "evaluation": {
        "scores": ["place/night_to_fake", "fid"],
        "extractor": "random-squeezenet1_0",
        "resize_px": 64,
        "num_images": 12,
        "num_bootstrap": 3,
    },
}
ARM = {
    **TINY_RETRIEVAL,
    "name": "arm",
    "training": {**TINY_RETRIEVAL["training"], "n_epochs": 1, "num_queries": 5},  # type: ignore[dict-item]
    "evaluation": {**TINY_RETRIEVAL["evaluation"], "split": "val"},  # type: ignore[dict-item]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study_scores")
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        (folder / "scored_by.yaml").write_text(json.dumps(SCORED_BY))
        (folder / "arm.yaml").write_text(json.dumps(ARM))
        config = translator_config("cyclegan", "toy", generator_channels=4, generator_blocks=1, init_gain=0.2)
        for seed in range(2):
            generator = generator_from_config(config, torch.Generator().manual_seed(seed))
            checkpoint.save_generator(folder / f"generator{seed}", generator, config)
        yield folder


def asked(folder: Path, seeds: int = 1, **changed: object) -> study_scores.Request:
    generators = ("generator0", "generator1")
    given = {"generators": generators, "seeds": seeds, "table": folder / "table.csv", **changed}
    return study_scores.Request(
        Path("arm.yaml"), Path("scored_by.yaml"), out=folder / "out", **given  # type: ignore[arg-type]
    )  # fmt: skip


def test_every_row_is_kept_and_a_second_call_trains_only_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = runs.open_store()
    named = {"names": {"generator1": "second"}}
    told = study_scores.study_scores(asked(folder, **named), store)
    first = table.read(folder / "table.csv")
    assert [(row.name, row.seed) for row in first] == [("generator0", 0), ("second", 0)]
    assert {"map/toycity/night", "map/toycity/day", "fid.random-squeezenet1_0"} <= first[0].values.keys()
    assert any(key.startswith("place/night_to_fake") for key in first[0].scores)
    assert told[0] == "2 generators, 1 retrieval seeds each"
    assert {path.name for path in (folder / "out").iterdir()} == {"scores.txt", "scores.json", "scores.html"}

    table.write(folder / "table.csv", first[:1])  # as if it had been killed in its second row
    study_scores.study_scores(asked(folder, **named), store, progress=True)
    assert "second, seed 0: 1 of 1" in capsys.readouterr().err
    assert table.read(folder / "table.csv") == first
    trained = store.find_runs(tags={"d2n.kind": "retrieval"})
    assert len(trained) == 3

    study_scores.study_scores(asked(folder), store)  # nothing is left
    assert len(store.find_runs(tags={"d2n.kind": "retrieval"})) == 3
    with pytest.raises(DataError, match="other settings"):
        study_scores.study_scores(asked(folder, overrides=("training.margin=0.9",)), store)
    assert study_scores.study_scores_command(
        asked(folder, only_answer=True), tracking_uri=None, progress=False
    )[0].startswith("2 generators")


def test_a_table_is_of_the_knobs_that_are_set_and_of_what_is_in_a_weights_file(folder: Path) -> None:
    def counted(**overrides: object) -> dict[str, Any]:
        arm = build_experiment(ARM, {key.replace("__", "."): value for key, value in overrides.items()})
        assert isinstance(arm, RetrievalExperiment)
        return study_scores.counted_knobs(arm)

    known = counted()
    assert known["training.n_epochs"] == 1
    assert not {"training.lr_gamma", "network.light_weights", "night.generator", "name"} & known.keys()
    assert (
        counted(training__lr_gamma=0.99, seed=7, training__num_threads=1) == known
    )  # a default, and what is free
    assert counted(training__lr_gamma=0.98) != known
    first = {"network__weights": str(folder / "first.bin")}
    for name, content in (("first", b"1"), ("moved", b"1"), ("other", b"2")):
        (folder / f"{name}.bin").write_bytes(content)
    assert counted(**first) == counted(network__weights=str(folder / "moved.bin"))
    assert counted(**first) != counted(network__weights=str(folder / "other.bin"))


def test_what_cannot_be_is_one_line(folder: Path) -> None:
    store = runs.open_store()
    with pytest.raises(D2NError, match="0 finished generators of toycity, expected two"):
        study_scores.study_scores(asked(folder, generators=()), store)
    with pytest.raises(
        ConfigError, match="diversity can never be had here: it needs images of at least 161 px"
    ):
        study_scores.study_scores(asked(folder, scores=("fid", "diversity")), store)
    listed = folder / "list.yaml"
    listed.write_text("- generator0\n- generator1\n")
    assert study_scores.references(listed) == {"generator0": "generator0", "generator1": "generator1"}
    listed.write_text("first: generator0\nsecond: generator1\n")
    assert study_scores.references(listed) == {"generator0": "first", "generator1": "second"}
    for wrong in ("a: 1\n", "- 1\n- generator0\n", "[]\n", "generator0\n", "a: ''\n"):
        listed.write_text(wrong)
        with pytest.raises(ConfigError, match="expected a list of generators"):
            study_scores.references(listed)
