"""The plan of benchmarks/score_study.py stays one that can be walked: every knob is known, every row fits it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from d2n.config import RetrievalExperiment, TranslationExperiment, load_experiment
from d2n.files.reading import file_sha256
from d2n.files.yaml import read_yaml
from d2n.retrieval import network
from d2n.scores import SCORES
from d2n.scores.needs import Given, unmet_need
from d2n.workflows.study_scores import table

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "score_study.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def design(script: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(script.HOME / "design.yaml")
    return found


def test_every_generator_is_an_experiment_of_the_toy_city_and_no_two_are_one(
    script: ModuleType, design: dict[str, Any]
) -> None:
    wanted = script.experiments(design)
    assert len(wanted) >= 24
    assert all(isinstance(one, TranslationExperiment) and one.name == name for name, one in wanted.items())
    assert {one.dataset.name for one in wanted.values()} == {"toycity"}
    assert {"pix2pix", "cyclegan", "cut", "hedngan"} == {one.translator.method for one in wanted.values()}
    different = {
        repr((one.translator, one.training.n_epochs, one.training.batch_size)) for one in wanted.values()
    }
    assert len(different) == len(wanted)


def test_the_arm_goes_on_from_the_day_network_and_every_score_can_be_had(
    script: ModuleType, design: dict[str, Any]
) -> None:
    arm = load_experiment(script.ARM, script.overrides(script.arm_knobs(design)))
    assert isinstance(arm, RetrievalExperiment)
    assert arm.pretraining.n_epochs == 0
    assert network.descriptor_dim(network.build(arm.network)) == 128
    assert file_sha256(Path(str(arm.network.weights))).startswith(
        "55ccd47119f6"
    )  # the rows' settings hold it
    given = Given(300, 64, True, "retrieval:x", 20, True, True, True, True)
    assert {name: unmet_need(name, given) for name in design["scores"]} == dict.fromkeys(design["scores"], "")
    assert set(design["scores"]) <= SCORES.keys()


def test_the_rows_so_far_are_of_one_experiment(script: ModuleType) -> None:
    rows = table.read(script.HOME / "rows.csv")
    assert len({row.settings for row in rows}) <= 1
    assert len({(row.generator, row.seed) for row in rows}) == len(rows)
    assert all({"map/toycity/night", "map/toycity/day"} <= row.maps.keys() for row in rows)
