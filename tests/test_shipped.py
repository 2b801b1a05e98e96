"""Experiments and studies by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n import config, shipped
from d2n.config import TranslationExperiment
from d2n.errors import ConfigError
from d2n.studies.loading import load_study

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_comes_with_d2n_is_what_the_checkout_holds() -> None:
    for kind in shipped.KINDS:
        assert shipped.names(kind) == sorted(path.stem for path in (ROOT / kind).glob("*.yaml"))


@pytest.mark.parametrize(
    "asked", ["cyclegan_toycity", "cyclegan_toycity.yaml", "experiments/cyclegan_toycity.yaml"]
)
def test_an_experiment_is_found_by_name_from_an_empty_folder(asked: str) -> None:
    experiment = config.load_experiment(asked)
    assert experiment == config.load_experiment(ROOT / "experiments/cyclegan_toycity.yaml")


def test_a_study_is_found_by_name_with_its_experiment() -> None:
    definition = load_study("pix2pix_toycity")
    assert definition.config.name == "pix2pix_toycity"
    assert definition.experiment.translator.method == "pix2pix"


@pytest.mark.parametrize("place", [".", "experiments"])
def test_a_file_in_the_folder_wins(empty_folder: Path, place: str) -> None:
    (empty_folder / place).mkdir(exist_ok=True)
    (empty_folder / place / "cyclegan_toycity.yaml").write_text("name: mine\npreset: toy\n")
    assert config.load_experiment("cyclegan_toycity").name == "mine"


def test_a_study_of_ones_own_names_an_experiment_that_comes_with_d2n(empty_folder: Path) -> None:
    (empty_folder / "s.yaml").write_text(
        "name: s\nexperiment: cyclegan_toycity\nspace: {translator.dropout: {type: bool}}\n"
    )
    experiment = load_study("s").experiment
    assert isinstance(experiment, TranslationExperiment)
    assert experiment.name == "cyclegan_toycity"


def test_a_folder_of_the_same_name_is_not_taken_for_the_yaml(empty_folder: Path) -> None:
    (empty_folder / "folders").mkdir()
    assert config.load_experiment("folders").name == "folders"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("cyclegan_toycty", "did you mean 'cyclegan_toycity'?"),
        ("cyclegan_toycty.yaml", "did you mean 'cyclegan_toycity'?"),
        ("elsewhere/cyclegan_toycity.yaml", "did you mean 'cyclegan_toycity'?"),
        ("x" * 300, "no experiment of that name (`d2n check`"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shipped.find("experiments", asked)
    assert f"{asked}: no such file" in str(caught.value)
    assert hint in str(caught.value)
