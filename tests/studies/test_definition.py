"""A study's YAML: what is accepted, and the one line for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.errors import ConfigError, D2NError, StudyError
from d2n.studies import load_study
from d2n.studies.definition import Dimension, StudyDefinition, active, differences

STUDY = """\
name: s
experiment: e.yaml
space:
  translator.lr: {type: float, low: 1e-5, high: 1e-2, log: true}
  translator.dropout: {type: bool}
"""


def load(
    folder: Path, text: str = STUDY, overrides: tuple[str, ...] = (), experiment: str = ""
) -> StudyDefinition:
    (folder / "e.yaml").write_text(experiment or "preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(text)
    return load_study(folder / "s.yaml", overrides)


def test_a_study_is_read_with_its_experiment_and_defaults(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert study.config.objectives[0].score == "fid"
    assert study.config.space["translator.lr"].ends == (1e-5, 1e-2)
    assert study.experiment.translator.method == "pix2pix"
    assert study.dataset == "toycity"


def test_short_forms_of_sampler_pruner_and_objective(tmp_path: Path) -> None:
    study = load(tmp_path, STUDY + "sampler: random\npruner: none\nobjective: kid\n").config
    assert (study.sampler.name, study.pruner.name, study.objectives[0].score) == ("random", "none", "kid")


def test_overrides_reach_the_experiment_and_with_a_prefix_the_study(tmp_path: Path) -> None:
    study = load(tmp_path, overrides=("study.stop.trials=4", "training.n_epochs=3", "study.sampler.seed=7"))
    assert (study.config.stop.trials, study.experiment.training.n_epochs) == (4, 3)
    assert study.config.sampler.seed == 7


def test_a_trials_settings_win_over_the_experiment(tmp_path: Path) -> None:
    study = load(tmp_path, overrides=("translator.lr=1e-3",))
    assert study.experiment_for({"translator.lr": 5e-4, "translator.dropout": True}).translator.lr == 5e-4


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("translator.lrr: {type: float, low: 1, high: 2}", "did you mean 'translator.lr'"),
        ("translator.lr: {type: float, low: 2.0e-3, high: 1.0e-3}", "low < high"),
        ("translator.lr: {type: float, low: 1.0e-3}", "high None"),
        ("translator.lr: {type: float, low: 0, high: 1, log: true}", "expected low > 0"),
        ("translator.lr: {type: float, low: 1.0e-5, high: 100}", "translator.lr is 100"),
        ("translator.method: {type: categorical, choices: [pix2pix]}", "at least two"),
        ("translator.method: {type: categorical, choices: [pix2pix, gan]}", "translator.method is 'gan'"),
        ("translator.pool_size: {type: int, low: 0.5, high: 3}", "is int, found low 0.5"),
        ("translator.dropout: {type: bool, low: 0}", "belong to float and int"),
        ("translator.dropout: {type: bool, choices: [true, false]}", "belong to categorical"),
        ("translator.lr: {type: float, low: 1.0e-5, high: 1.0e-3, lowest: 1}", "lowest"),
    ],
)
def test_a_dimension_that_does_not_fit_is_named(tmp_path: Path, space: str, said: str) -> None:
    with pytest.raises(D2NError) as caught:
        load(tmp_path, f"name: s\nexperiment: e.yaml\nspace:\n  {space}\n")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("sampler: tpee", "tpee"),
        ("stop: {}", "stop names no rule"),
        ("pruner: wilcoxon", "seeds_per_trial is 1"),
        ("pruner: wilcoxon\nseeds_per_trial: 4", "expected seeds_per_trial from 5 on"),
        (
            "pruner: {name: wilcoxon, p_threshold: 0.4}\nseeds_per_trial: 2",
            "expected seeds_per_trial from 3 on",
        ),
        ("sampler: grid", "a grid needs a step"),
        ("objectives: [{score: fid}, {score: kid}]", "expected pruner: none"),
        ("objectives: [{score: fid}, {score: kid}]\npruner: none\nsampler: cmaes", "cmaes searches one"),
        ("objective: {score: fid, direction: maximize}", "fid is to minimize, found direction: maximize"),
        ("objective: {score: prd/f8, direction: minimize}", "prd/f8 is to maximize"),
        ("objective: prd/f9", "no known score; did you mean 'prd/f8'"),
        ("objective: fidd", "no known score; did you mean 'fid'"),
        ("constraints: [{score: kid}]", "needs either at_most or at_least"),
        ("enqueue: [{translator.lr: 1}]", "expected 1e-05 to 0.01"),
        ("enqueue: [{translator.beta1: 0.5}]", "which space lacks"),
        ("overrides: {translator.lrx: 1}", "no knob of a translation"),
        ("max_attempts: 0", "max_attempts is 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(D2NError) as caught:
        load(tmp_path, f"{STUDY}{more}\n")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("score", "direction"),
    [
        ("fid", "minimize"),
        ("fid.squeezenet1_0", "minimize"),
        ("prd/f8", "maximize"),
        ("prd/f1_8.random-vgg16", "maximize"),
        ("ssim", "maximize"),
        ("diversity", "minimize"),
    ],
)
def test_the_direction_comes_from_the_score(tmp_path: Path, score: str, direction: str) -> None:
    for text in (f"objective: {score}", f"objectives: [{{score: {score}}}]", f"objectives: [{score}]"):
        (objective,) = load(tmp_path, f"{STUDY}{text}\n").config.objectives
        assert (objective.score, objective.direction) == (score, direction)


def test_a_dimension_is_checked_under_its_own_condition(tmp_path: Path) -> None:
    conditional = (
        "name: s\nexperiment: e.yaml\nspace:\n"
        "  translator.method: {type: categorical, choices: [pix2pix, cyclegan]}\n"
        "  translator.lambda_cycle: {type: float, low: 1, high: 20, when: {translator.method: cyclegan}}\n"
    )
    space = load(tmp_path, conditional).config.space
    assert active(space, "translator.lambda_cycle", {"translator.method": "cyclegan"})
    assert not active(space, "translator.lambda_cycle", {"translator.method": "pix2pix"})


def test_a_condition_on_a_later_dimension_or_an_impossible_value_is_refused(tmp_path: Path) -> None:
    later = (
        "name: s\nexperiment: e.yaml\nspace:\n"
        "  translator.lambda_cycle: {type: float, low: 1, high: 20, when: {translator.dropout: true}}\n"
        "  translator.dropout: {type: bool}\n"
    )
    with pytest.raises(StudyError, match=r"write translator\.dropout before it"):
        load(tmp_path, later)
    never = STUDY + "  translator.beta1: {type: float, low: 0, high: 0.9, when: {translator.dropout: 3}}\n"
    with pytest.raises(StudyError, match="never searched"):
        load(tmp_path, never)


def test_a_retrieval_experiment_is_searched_by_its_own_knobs(tmp_path: Path) -> None:
    text = "name: s\nexperiment: e.yaml\nobjective: map/toycity/night\nspace:\n  training.margin: "
    text += "{type: float, low: 0.5, high: 1}\n"
    study = load(tmp_path, text, experiment="kind: retrieval\n")
    assert study.experiment.kind == "retrieval"
    assert study.config.objectives[0].direction == "maximize"
    before = {**study.identity(), "experiment": {"kind": "retrieval"}}
    assert differences(before, study.identity()) == []  # every other knob came later, and is at its default
    with pytest.raises(StudyError, match="no knob of a retrieval experiment"):
        load(tmp_path, experiment="kind: retrieval\n")


def test_a_missing_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path, STUDY.replace("e.yaml", "absent.yaml"))


def test_identity_differs_by_space_and_experiment_but_not_by_machine(tmp_path: Path) -> None:
    base = load(tmp_path).identity()
    assert (
        differences(base, load(tmp_path, overrides=("training.num_workers=2", "dataset.root=/x")).identity())
        == []
    )
    assert differences(base, load(tmp_path, overrides=("study.stop.trials=3",)).identity()) == []
    changed = load(tmp_path, STUDY.replace("1e-2", "1e-3"), ("training.n_epochs=3",)).identity()
    lines = differences(base, changed)
    assert [line.split(":")[0] for line in lines] == ["space translator.lr", "experiment training.n_epochs"]
    assert "150 -> 3" in lines[1]


def test_a_bool_is_no_number_of_a_dimension() -> None:
    assert not Dimension(type="int", low=0, high=3).contains(True)
    assert Dimension(type="bool").contains(True)
    assert not Dimension(type="bool").contains(1)


@pytest.mark.parametrize("name", ["o'brien", "me@home", "my study", '"a\\nb"', "a/b", "x" * 300])
def test_names_that_no_store_can_hold_are_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(D2NError, match=r"s.yaml: name is ") as caught:
        load(tmp_path, STUDY.replace("name: s", f"name: {name}"))
    assert "\n" not in str(caught.value)
    with pytest.raises(D2NError, match=r"s.yaml: dataset is "):
        load(tmp_path, f"{STUDY}dataset: {name}\n")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            "translator.lambda_cycle: {type: float, low: 1, high: 9}",
            "translator.lambda_cycle is a knob of cyclegan",
        ),
        (
            "translator.lambda_identity: {type: float, low: 1, high: 9}",
            ", which pix2pix has not",
        ),
        (
            "translator.lambda_l1: {type: float, low: 1, high: 9, when: {translator.method: [pix2pix, cut]}}",
            "which cut has not",
        ),
        (
            "translator.method: {type: categorical, choices: [pix2pix, cut, cyclegan]}\n"
            "  translator.lambda_nce: {type: float, low: 1, high: 9}",
            "which pix2pix and cyclegan has not; when: {translator.method: cut}",
        ),
    ],
)
def test_a_knob_that_the_method_has_not_is_not_searched(tmp_path: Path, space: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(tmp_path, f"name: s\nexperiment: e.yaml\nspace:\n  {space}\n")
    assert said in str(caught.value)


def test_a_study_that_was_stored_with_the_knobs_of_all_methods_goes_on(tmp_path: Path) -> None:
    now = load(tmp_path).identity()
    others = {
        "translator.lambda_cycle": 10.0,
        "translator.lambda_identity": 0.0,
        "translator.lambda_nce": 1.0,
    }
    before = {**now, "experiment": {**now["experiment"], **others}}
    assert differences(before, now) == []
    other = {**before, "experiment": {**before["experiment"], "translator.lambda_l1": 3.0}}
    assert differences(other, now) == ["experiment translator.lambda_l1: 3.0 -> 100.0"]


def test_a_trial_of_another_method_leaves_the_knobs_of_the_yamls_behind(tmp_path: Path) -> None:
    text = "name: s\nexperiment: e.yaml\nspace:\n  translator.method: {type: categorical, choices: [pix2pix, cut]}\n"
    study = load(tmp_path, text, experiment="translator: {method: pix2pix, lambda_l1: 5}\n")
    assert study.experiment_for({"translator.method": "cut"}).translator.method == "cut"
    assert getattr(study.experiment_for({"translator.method": "pix2pix"}).translator, "lambda_l1", 0) == 5


def test_a_study_of_an_earlier_release_goes_on_under_the_defaults_of_later_knobs(tmp_path: Path) -> None:
    now = load(tmp_path).identity()
    before = {
        **now,
        "experiment": {k: v for k, v in now["experiment"].items() if k != "translator.antialias"},
    }
    before["experiment"]["evaluation.num_bootstrap"] = 10
    assert differences(before, now) == []
    blurred = load(tmp_path, overrides=("translator.antialias=true",)).identity()
    assert differences(before, blurred) == ["experiment translator.antialias: absent -> true"]


def test_a_score_beside_the_one_that_chooses_is_no_other_study(tmp_path: Path) -> None:
    base = load(tmp_path, overrides=("evaluation.scores=[fid, kid]",)).identity()
    for listed in ("[fid]", "[fid, kid, place/night_to_fake]", "[fid, prd]"):
        more = load(tmp_path, overrides=(f"evaluation.scores={listed}",)).identity()
        assert differences(base, more) == differences(more, base) == []
    other = load(tmp_path, overrides=("evaluation.scores=[kid, fid]",)).identity()
    assert [line.split(":")[0] for line in differences(base, other)] == ["experiment evaluation.scores"]
