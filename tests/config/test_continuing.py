"""A preset that changed between releases, and what was begun with the earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from d2n import config
from d2n.config import METHODS

CHANGED = [
    (name, preset, knob)
    for name, row in METHODS.items()
    for preset in row.formerly
    for knob in row.formerly[preset]
]


def experiment(method: str, preset: str, **translator: Any) -> config.Experiment:
    return config.build_experiment({"preset": preset, "translator": {"method": method, **translator}})


@pytest.mark.parametrize(("method", "preset", "knob"), CHANGED)
def test_what_was_begun_with_the_former_preset_goes_on_with_it(method: str, preset: str, knob: str) -> None:
    now, former = experiment(method, preset), METHODS[method].formerly[preset][knob]
    assert config.flatten(now)[knob] != former
    for stored in (former, str(former)):  # of a study, of a run's params
        found = config.former_values(now, {knob: stored})
        assert config.flatten(config.with_values(now, found)) == {**config.flatten(now), knob: former}


@pytest.mark.parametrize(
    "stored", [{}, {"translator.lambda_identity": 5.0}, {"translator.lambda_identity": 7.0}]
)
def test_else_nothing_changes(stored: dict[str, Any]) -> None:
    assert config.former_values(experiment("cyclegan", "toy"), stored) == {}


def test_a_knob_that_the_experiment_sets_itself_stays() -> None:
    own = experiment("cyclegan", "toy", lambda_identity=2.0)
    assert config.former_values(own, {"translator.lambda_identity": 0.0}) == {}
    assert config.former_values(config.RetrievalExperiment(), {"translator.lambda_identity": 0.0}) == {}
