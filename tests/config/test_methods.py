"""Each method has knobs of its own; another's are refused, but in what was stored before."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from d2n import config
from d2n.config import METHODS, TranslationExperiment, methods
from d2n.errors import ConfigError

FOREIGN = [(name, knob) for name, row in METHODS.items() for knob in sorted(methods.foreign(row))]


def stored_before(method: str) -> dict[str, Any]:
    """A translation as runs logged it when one class held the knobs of all methods."""
    values = config.to_dict(config.build_experiment({"preset": "toy", "translator": {"method": method}}))
    every = {"lambda_l1": 100.0, "lambda_cycle": 7.0, "lambda_identity": 0.5, "lambda_nce": 1.0}
    return {**values, "translator": {**every, **values["translator"]}}


@pytest.mark.parametrize(("method", "knob"), FOREIGN)
def test_a_knob_of_another_method_is_refused_wherever_it_is_said(method: str, knob: str) -> None:
    said = (
        rf"translator.{knob} is a knob of .*, which {method} has not; leave it out, or set translator.method"
    )
    with pytest.raises(ConfigError, match=said):
        config.build_experiment({"translator": {"method": method, knob: 1.0}})
    with pytest.raises(ConfigError, match=said):
        config.build_experiment({"translator": {"method": method}}, [f"translator.{knob}=1"])
    with pytest.raises(ConfigError, match=said):
        config.build_experiment({}, {"translator.method": method, f"translator.{knob}": 1.0})


def test_every_method_has_some_that_others_have_not() -> None:
    assert FOREIGN
    assert all(row.own for row in METHODS.values())


@pytest.mark.parametrize("method", METHODS)
def test_params_are_the_methods_own(method: str) -> None:
    experiment = config.build_experiment({"translator": {"method": method}})
    flat = {knob.partition(".")[2] for knob in config.flatten(experiment) if knob.startswith("translator.")}
    assert flat == {item.name for item in dataclasses.fields(METHODS[method].config)}
    assert flat & methods.foreign(METHODS[method]) == set()


@pytest.mark.parametrize("method", METHODS)
def test_what_was_stored_with_the_knobs_of_all_is_still_read(method: str) -> None:
    stored = stored_before(method)
    with pytest.raises(ConfigError, match="is a knob of"):
        config.build_experiment(stored)
    experiment = config.stored_experiment(stored, "run 1")
    assert isinstance(experiment, TranslationExperiment)
    assert isinstance(experiment.translator, METHODS[method].config)
    own = {
        knob: value for knob, value in stored["translator"].items() if hasattr(experiment.translator, knob)
    }
    assert config.to_dict(experiment.translator) == own


def test_what_no_edition_knew_is_refused_in_a_stored_description_too() -> None:
    stored = stored_before("cut")
    stored["translator"]["lambda_strange"] = 1.0
    with pytest.raises(ConfigError, match=r"run 1: unknown knob translator.lambda_strange"):
        config.stored_experiment(stored, "run 1")


def test_an_override_of_the_method_leaves_the_knobs_of_the_yamls_method_behind() -> None:
    values = {
        "preset": "toy",
        "translator": {"method": "cyclegan", "lambda_cycle": 3.0, "lambda_identity": 2.0},
    }
    cut = config.build_experiment(values, ["translator.method=cut"])
    assert isinstance(cut, TranslationExperiment)
    assert isinstance(cut.translator, config.CutConfig)
    assert cut.translator.lambda_identity == 2.0
    with pytest.raises(ConfigError, match=r"lambda_cycle is a knob of cyclegan.*, which cut has not"):
        config.build_experiment(values, ["translator.method=cut", "translator.lambda_cycle=4"])


@pytest.mark.parametrize("wrong", ["discogan", 3, None, ["cut"], {"a": 1}])
def test_a_method_that_is_none_is_one_line(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"translator.method is .*'pix2pix', 'cyclegan', 'cut'"):
        config.build_experiment({"translator": {"method": wrong}})


def test_a_wrong_value_of_an_own_knob_stands_at_its_place() -> None:
    with pytest.raises(
        ConfigError, match=r"experiment: translator.lambda_nce is -1: input should be greater"
    ):
        config.build_experiment({"translator": {"method": "cut", "lambda_nce": -1}})
    with pytest.raises(ConfigError, match=r"translator.lambda_nce is true, expected a number"):
        config.build_experiment({"translator": {"method": "cut", "lambda_nce": True}})


def test_the_rows_are_whole() -> None:
    assert list(methods.faults()) == []
    for preset in methods.PRESET_NAMES:
        for method in METHODS:
            assert config.translator_config(method, preset).method == method


def test_a_row_that_is_not_whole_is_told() -> None:
    cut = METHODS["cut"]
    presets = {**cut.presets, "toy": {"translator": {"lambda_l1": 1.0}}}
    del presets["later"]
    said = list(
        methods.faults(
            {"kut": dataclasses.replace(cut, presets=presets, formerly={"toy": {"translator.lr": 1.0}})}
        )
    )
    assert said == [
        "method kut: its knobs say method: 'cut'",
        "method kut: its preset toy sets lambda_l1, which it has not",
        "method kut: formerly translator.lr, which its preset toy does not set now",
        "method kut: no preset later, expected thesis, reference, later, published, toy",
    ]
