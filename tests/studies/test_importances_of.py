"""Importances of trials that are known by their settings and values alone."""

from __future__ import annotations

import pytest

from d2n.studies.report import importances_of


def test_what_moves_the_value_matters_most(capfd: pytest.CaptureFixture[str]) -> None:
    trials = [
        ({"lr": 10.0 ** -(i % 4 + 1), "dropout": "true" if i % 3 else "false"}, float(i % 4))
        for i in range(24)
    ]
    found = importances_of(trials, "minimize", {"lr"})
    assert set(found) == {"lr", "dropout"}
    assert found["lr"] > found["dropout"]
    assert "study created" not in capfd.readouterr().err


def test_too_few_trials_have_none() -> None:
    assert importances_of([({"lr": 1.0}, 2.0)], "minimize") == {}
