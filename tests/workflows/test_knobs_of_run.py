"""``d2n knobs --run``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from d2n.cli import cli
from d2n.config import build_experiment, flatten
from d2n.core import ScoreProtocol
from d2n.errors import ConfigError, TrackingError
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.records import TranslationRecord
from d2n.tracking.runs import Store, open_store
from d2n.workflows import knobs_of_run
from d2n.workflows.saved import FREE_KNOBS

PROTOCOL = ScoreProtocol("inception", "w" * 64, "clean@299", 100, "r" * 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(sqlite_uri(tmp_path_factory.mktemp("store") / "mlflow.db"))


def test_every_knob_is_told_shown_or_not(store: Store) -> None:
    experiment = build_experiment({"preset": "toy"}, {"dataset.rule.night_threshold": 0.5})
    with store.start_run("d2n/toycity", "one") as run:
        TranslationRecord.begun(experiment, PROTOCOL).write(run, changeable=FREE_KNOBS)
    assert len(store.client.get_run(run.run_id).data.params) < 30
    lines = knobs_of_run.told(run.run_id, tracking_uri=store.uri)
    assert {line.partition(" = ")[0] for line in lines} == set(flatten(experiment))
    assert "translator.beta2 = 0.999" in lines
    assert 'dataset.rule = {"night_threshold": 0.5}' in lines
    assert knobs_of_run.told(run.run_id, "beta2", store.uri) == ["translator.beta2 = 0.999"]
    with pytest.raises(ConfigError, match="'lrr' is no room and no knob of run"):
        knobs_of_run.told(run.run_id, "lrr", store.uri)

    again = store.resume_run(run.run_id)
    changed = build_experiment({"preset": "toy"}, {"training.num_threads": 3})
    again.log_params(flatten(changed) | {"dataset.rule": '{"night_threshold": 0.5}'}, FREE_KNOBS)
    again.close()
    given = ["knobs", "--run", run.run_id, "training", "--tracking-uri", store.uri]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    assert "training.num_threads = 0   (gone on with 3)" in done.output
    assert "translator" not in done.output


def test_params_alone_tell_too_and_a_run_without_knobs_is_one_line(store: Store, tmp_path: Path) -> None:
    with store.start_run("d2n/toycity", "old", params={"translator.lr": 0.1, "search/lr": 0.1}) as run:
        pass
    assert knobs_of_run.told(run.run_id, tracking_uri=store.uri) == ["translator.lr = 0.1"]
    with store.start_run("d2n/toycity", "none") as run:
        pass
    with pytest.raises(TrackingError, match=r"run \w+ \(none\) has no knobs"):
        knobs_of_run.told(run.run_id, tracking_uri=store.uri)
