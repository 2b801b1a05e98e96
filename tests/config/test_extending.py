"""``extends:``."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n import config
from d2n.config import TranslationExperiment
from d2n.config.extending import MAX_DEPTH
from d2n.errors import ConfigError
from d2n.studies.loading import load_study


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def loaded(name: str, *overrides: str) -> TranslationExperiment:
    experiment = config.load_experiment(name, overrides)
    assert isinstance(experiment, TranslationExperiment)
    return experiment


def test_mappings_are_merged_and_all_else_is_replaced() -> None:
    write(
        "a.yaml",
        "preset: toy\nseed: 3\ndataset: {flip: true, rule: {x: 1, y: 2}}\nevaluation: {scores: [fid, kid]}\n",
    )
    write("b.yaml", "extends: a.yaml\nname: b\ndataset: {rule: {y: 3}}\nevaluation: {scores: [prd]}\n")
    write("c.yaml", "extends: b\nseed: 4\n")
    experiment = loaded("c.yaml", "dataset.flip=false")
    assert (experiment.name, experiment.seed, experiment.preset) == ("b", 4, "toy")
    assert experiment.dataset.rule == {"x": 1, "y": 3}
    assert (experiment.evaluation.scores, experiment.dataset.flip) == (("prd",), False)


def test_a_name_means_what_lies_beside_then_what_comes_with_d2n() -> None:
    write("mine.yaml", "extends: cyclegan_toycity\nname: mine\n")
    assert loaded("mine").dataset.name == "toycity"
    write("cyclegan_toycity.yaml", "extends: cyclegan_toycity\nname: own\nseed: 9\n")
    own = loaded("cyclegan_toycity")
    assert (own.name, own.seed, own.training.steps_per_epoch) == ("own", 9, 150)
    assert (loaded("mine").name, loaded("mine").seed) == ("mine", 9)


def test_another_method_leaves_the_knobs_of_the_first_behind() -> None:
    write("a.yaml", "translator: {method: cyclegan, lambda_cycle: 3, lambda_identity: 2, lr: 0.001}\n")
    write("b.yaml", "extends: a\ntranslator: {method: cut, lambda_nce: 4}\n")
    translator = loaded("b.yaml").translator
    assert isinstance(translator, config.CutConfig)
    assert (translator.lambda_nce, translator.lambda_identity, translator.lr) == (4, 2, 0.001)
    write("c.yaml", "extends: a\ntranslator: {method: cut, lambda_cycle: 4}\n")
    with pytest.raises(ConfigError, match="lambda_cycle is a knob of cyclegan"):
        config.load_experiment("c.yaml")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"x": "extends: x\n"}, "comes back to it: x.yaml -> x.yaml"),
        ({"x": "extends: y\n", "y": "extends: x.yaml\n"}, "comes back to it: x.yaml -> y.yaml -> x.yaml"),
        ({"x": "extends: absent.yaml\n"}, "x.yaml: extends 'absent.yaml': absent.yaml: no such file"),
        ({"x": "extends: cyclegan_toycty\n"}, "did you mean 'cyclegan_toycity'"),
        ({"x": "extends: [a, b]\n"}, "extends is ['a', 'b'], expected a file or the name of one"),
        ({"x": "extends:\n"}, "extends is None"),
        ({"x": "extends: y\n", "y": "- 1\n"}, "y.yaml: holds list"),
        ({"x": "extends: y\nseed: -1\n", "y": "preset: toy\n"}, "x.yaml: seed is -1"),
        (
            {"x": "extends: f0\n", **{f"f{i}": f"extends: f{i + 1}\n" for i in range(MAX_DEPTH)}},
            f"extends more than {MAX_DEPTH} files",
        ),
    ],
)
def test_what_cannot_be_extended_is_one_line(files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        write(f"{name}.yaml", text)
    with pytest.raises(ConfigError) as caught:
        config.load_experiment("x.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_extends_a_study_and_its_experiment_is_meant_beside_the_file_that_names_it() -> None:
    write("base/e.yaml", "preset: toy\n")
    write(
        "base/s.yaml",
        "name: s\nexperiment: e.yaml\nspace: {translator.dropout: {type: bool}}\nstop: {trials: 3}\n",
    )
    write("mine/t.yaml", "extends: ../base/s.yaml\nname: t\nspace: {translator.late_input: {type: bool}}\n")
    study = load_study("mine/t.yaml")
    assert (study.config.name, study.config.stop.trials, study.experiment.preset) == ("t", 3, "toy")
    assert list(study.config.space) == ["translator.dropout", "translator.late_input"]


def test_extends_is_no_knob_to_set() -> None:
    with pytest.raises(ConfigError, match="unknown knob extends"):
        config.load_experiment("cyclegan_toycity", ["extends=folders"])
