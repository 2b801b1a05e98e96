"""Twenty promotions by four whole `d2n promote` processes at a time, ten of them killed while they register."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from trained_runs import TrainedRuns

from d2n.datasets import toycity
from d2n.tracking import health, history, names, registered, registry, registry_lock
from d2n.tracking.runs import RunRecord, Store, open_store
from d2n.workflows import train
from tests.workflows.conftest import tiny_translation

NAME, PROMOTIONS, KILLS, AT_ONCE = "d2n-toycity", 20, 10, 4
METRIC = "map/toycity/night"
FIRST = [sys.executable, "-m", "d2n", "promote", "toycity", "--no-retrain"]
PROMOTE = [
    *FIRST,
    "--metric",
    METRIC,
    "--accept-noise",
]  # what their retrieval networks are worth, one seed each


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
        pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.timeout(3000)]),
    ]
)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/mlruns/mlflow.db"
        return
    monkeypatch.setenv("D2N_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    yield request.getfixturevalue("postgres").uri


@dataclass
class Candidates:
    """Runs that are each better than those before, made of one that was trained."""

    store: Store
    first: RunRecord
    files: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    number: int = 0

    def add(self) -> str:
        """One more of another setting, whose score and mAP are better than all before."""
        with self.lock:
            self.number += 1
            number = self.number
        tags = {key: value for key, value in self.first.tags.items() if key.startswith("d2n.")}
        for tag in (names.BEST_SCORE, names.TEST_SCORE):
            tags[tag] = json.dumps({**json.loads(tags[tag]), "value": 1.0 / number})
        params = {**self.first.params, "translator.lr": 1e-5 * number}
        with self.store.start_run(self.first.experiment, f"better {number}", tags=tags, params=params) as run:
            config = self.store.artifact(self.first.run_id, names.CONFIG_JSON, self.files / run.run_id)
            run.log_text(config.read_text(), names.CONFIG_JSON)
            client = self.store.client
            model = client.create_logged_model(run.experiment_id, names.GENERATOR, run.run_id)
            client.log_model_artifacts(model.model_id, str(self.files / "logged"))
            client.finalize_logged_model(model.model_id, "READY")
            run.set_tags({names.MODEL_ID: model.model_id})
        self.measure(run.run_id, number / 1000)
        return run.run_id

    def measure(self, generator: str, value: float) -> None:
        """A retrieval run with that generator's nights."""
        tags = {names.KIND: "retrieval", names.DATASET: "toycity"}
        with self.store.start_run(
            self.first.experiment, "arm", tags=tags, params={"night.generator": generator}
        ) as run:
            run.log_metrics({METRIC: value})


@pytest.fixture
def candidates(uri: str, tmp_path: Path) -> Iterator[Candidates]:
    with contextlib.chdir(tmp_path):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        store = open_store(uri)
        experiment = tiny_translation(
            "cyclegan",
            "evaluation.extractor=random-squeezenet1_0",
            "evaluation.scores=[fid]",
            "training.n_epochs=1",
        )
        first = train.train(experiment, store=store)
        done = subprocess.run([*FIRST, "--tracking-uri", uri], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        record = store.get(first.run_id)
        runs = TrainedRuns(store, tmp_path / "files")
        place = registry.resolve(store, f"{NAME}@champion").model_id
        registry.download_model(store, place, runs.work / "logged")
        made = Candidates(store, record, runs.work)
        made.measure(first.run_id, 0.0)
        yield made
        shutil.rmtree(tmp_path / "data")


def promote_once(candidates: Candidates, is_killed: bool, rng: random.Random) -> int:
    """A whole process; its exit code. A victim is killed at a moment between taking the lock and its end."""
    candidates.add()
    process = subprocess.Popen(
        [*PROMOTE, "--tracking-uri", candidates.store.uri],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(candidates.files)},  # what victims leave
    )
    while is_killed and process.poll() is None:
        tags = registered.model(candidates.store, NAME).tags
        holders = [entry.process.get(names.PID) for entry in registry_lock.entries(tags)]
        if str(process.pid) in holders:
            time.sleep(rng.uniform(0, 4))
            process.kill()
        time.sleep(0.05)
    errors = process.communicate(timeout=900)[1].decode()
    assert process.returncode in (0, -9), errors
    return process.returncode


def test_twenty_promotions_at_once_of_which_ten_are_killed_leave_one_chain(candidates: Candidates) -> None:
    rng = random.Random(0)
    is_victim = [number < KILLS for number in range(PROMOTIONS + KILLS)]
    rng.shuffle(is_victim)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = list(pool.map(lambda each: promote_once(candidates, each, rng), is_victim))
    store = open_store(candidates.store.uri)
    assert promote_once(candidates, False, rng) == 0  # whatever was left is repaired by the next
    known, aliases = history.records(store, NAME), registry.list_aliases(store, NAME)
    states = [record.state for record in known]
    counts = {state: states.count(state) for state in sorted(set(states))}
    told = f"{codes.count(0)} promotions and {codes.count(-9)} killed on {store.uri.partition(':')[0]}"
    sys.stdout.write(f"\n{told}: records {counts}, aliases {aliases}, {_count(store)} versions\n")
    assert codes.count(0) >= PROMOTIONS
    assert "intended" not in states
    last: dict[str, str] = {}
    for move in history.alias_history(store, NAME):
        assert (move.former or "") == last.get(move.alias, "")
        last[move.alias] = move.version
    assert {alias: to for alias, to in last.items() if to} == aliases
    ids = [version.model_id for version in registry.list_versions(store, NAME)]
    assert len(ids) == len(set(ids))
    assert [run.name for run in store.find_runs(status="RUNNING")] == []
    assert [one for one in health.examine(store.uri) if one.kind != "leftover"] == []


def _count(store: Store) -> int:
    return len(registry.list_versions(store, NAME))
