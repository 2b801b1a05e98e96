"""Histories of real runs hold every promise; a bug that is planted in one is found.

make faults     the long form: FAULTS_KILLS=100 kills and as many trials
"""

from __future__ import annotations

import copy
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import history_worker
import pytest
import torch

from d2n.files import journal
from d2n.studies import worker
from d2n.tracking import history as registry_history
from d2n.tracking import registry
from d2n.tracking.runs import Store
from d2n.translators import checkpoint
from tests.faults.checker import Found, anomalies, read
from tests.faults.swarm import Swarm
from tests.tracking.test_registry import logged_model

History = list[dict[str, Any]]
NAME = "d2n-toycity"
KILLS = int(os.environ.get("FAULTS_KILLS", "100"))


def points(store: Store, run_id: str) -> Counter[tuple[str, int]]:
    keys = store.get(run_id).metrics
    return Counter(
        (key, int(one.step)) for key in keys for one in store.client.get_metric_history(run_id, key)
    )


@pytest.fixture
def recorded(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[History, Found]:
    """A study of two trials, a run of three batches, two moves of a champion and two checkpoints; what is there."""
    path = tmp_path / "history.jsonl"
    monkeypatch.setenv(journal.VARIABLE, str(path))
    study = history_worker.open_in(tmp_path, trials=2, lease_s=1.2)
    sleeping = history_worker.Sleeping(0.4, least_s=0.4)  # a sign of life comes every 0.2 s
    for _ in worker.work(study, sleeping):
        pass
    with store.start_run("d2n/toycity", "r") as run:
        for step in range(3):
            run.log_metrics({"loss/g": 1.0, "loss/d": 2.0}, step=step)
    for _ in range(2):
        run_id, model_id = logged_model(store)
        version = registry.register(store, model_name=NAME, run_id=run_id, model_id=model_id).version
        registry_history.move(store, NAME, {"champion": version}, main="champion", reason="better")
    for step in range(2):
        checkpoint.save(tmp_path / "work", {"w": torch.full((4,), float(step))}, {"step": step})
    monkeypatch.delenv(journal.VARIABLE)
    found = Found(
        trials={("s", one.number): one.state.name for one in study.trials()},
        points={run.run_id: points(store, run.run_id)},
        aliases={(NAME, "champion"): registry.list_aliases(store, NAME)["champion"]},
    )
    return [dict(one) for one in read(path)], found


def first(history: History, what: str, **known: Any) -> dict[str, Any]:
    return next(one for one in history if one["what"] == what and known.items() <= one.items())


def claimed_by_two(history: History, found: Found) -> None:
    one = first(history, "claim")
    at = one["to"] + 0.01
    history.append({**one, "token": "other", "pid": one["pid"] + 1, "from": at, "to": at})


def sign_of_the_former_owner(history: History, found: Found) -> None:
    one = first(history, "claim")
    at = one["to"] + one["lease_s"] + 60
    history.append({**one, "token": "other", "from": at, "to": at})
    history.append({**one, "what": "renew", "ok": True, "from": at + 1, "to": at + 1})


def told_twice(history: History, found: Found) -> None:
    history.append(copy.deepcopy(first(history, "tell")))


def finished_and_claimed(history: History, found: Found) -> None:
    one, end = first(history, "claim"), history[-1]["to"]
    history.append({**one, "token": "later", "from": end + 1000, "to": end + 1000})


def step_twice(history: History, found: Found) -> None:
    history.append(copy.deepcopy(first(history, "metrics")))


def lost_batch(history: History, found: Found) -> None:
    run_id, there = next(iter(found.points.items()))
    del there[next(iter(there))]
    assert run_id


def kept_and_never_sent(history: History, found: Found) -> None:
    one = first(history, "metrics")
    history.append({**one, "what": "kept", "points": [["loss/g", 99]]})


def lost_end(history: History, found: Found) -> None:
    found.trials["s", 0] = "RUNNING"  # type: ignore[index] # a dict


def alias_before_its_record(history: History, found: Found) -> None:
    moved, record = first(history, "alias"), first(history, "record", state="intended")
    moved["from"], moved["to"] = record["from"] - 2, record["from"] - 1


def record_never_ended(history: History, found: Found) -> None:
    history.remove(first(history, "record", state="done"))


def alias_lost(history: History, found: Found) -> None:
    found.aliases[NAME, "champion"] = "1"  # type: ignore[index] # a dict


def torn_checkpoint(history: History, found: Found) -> None:
    path = Path([one for one in history if one["what"] == "checkpoint"][-1]["path"])
    path.write_bytes(path.read_bytes()[:-20])


BUGS: list[Callable[[History, Found], None]] = [
    claimed_by_two,
    sign_of_the_former_owner,
    told_twice,
    finished_and_claimed,
    step_twice,
    lost_batch,
    kept_and_never_sent,
    lost_end,
    alias_before_its_record,
    record_never_ended,
    alias_lost,
    torn_checkpoint,
]


def test_a_real_history_keeps_every_promise_and_each_planted_bug_is_found(
    recorded: tuple[History, Found], capsys: pytest.CaptureFixture[str]
) -> None:
    history, found = recorded
    whats = {"claim", "renew", "tell", "end", "metrics", "alias", "record", "checkpoint"}
    assert whats == {one["what"] for one in history}
    assert anomalies(history, found) == []
    missed = []
    for plant in BUGS:
        now, there = copy.deepcopy(history), copy.deepcopy(found)
        plant(now, there)
        if not anomalies(now, there):
            missed.append(plant.__name__)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(BUGS) - len(missed)} of {len(BUGS)} planted bugs found")
    assert missed == []


def test_without_the_switch_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journal.VARIABLE, raising=False)
    journal.note("claim", journal.now(), study="s")
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_short_is_no_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.jsonl"
    monkeypatch.setenv(journal.VARIABLE, str(path))
    journal.note("claim", journal.now(), study="s")
    with path.open("a") as file:
        file.write('{"what": "tell", "fr')
    assert [one["what"] for one in read(path)] == ["claim"]


def kills(most: int, pause_s: float = 0.0) -> Callable[[Swarm], None]:
    """kill -9 of a worker that made a claim; with ``pause_s`` every second one is stopped beyond its lease before."""
    chance, before = random.Random(0), 0

    def trouble(swarm: Swarm) -> None:
        nonlocal before
        claims = sum(one["what"] == "claim" for one in swarm.history())
        if len(swarm.killed) >= most or not swarm.running or claims <= before:
            return
        time.sleep(chance.uniform(0, 0.3))
        victim = chance.choice(swarm.running)
        if pause_s and len(swarm.killed) % 2:
            swarm.stop(victim, pause_s)
        swarm.kill(victim)
        before = claims

    return trouble


def test_a_study_under_kills_keeps_its_promises(tmp_path: Path) -> None:
    swarm = Swarm(tmp_path, trials=6)
    assert (swarm.run(kills(2)), len(swarm.killed)) == ([], 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pause_s", [0.0, 3.0])
def test_a_study_under_many_kills_keeps_its_promises(
    tmp_path: Path, pause_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = Swarm(tmp_path, trials=2 * KILLS, workers=3, lease_s=pause_s / 2 if pause_s else 300.0)
    found = swarm.run(kills(KILLS, pause_s))
    with capsys.disabled():
        sys.stdout.write(f"\n{swarm.told(found)}, {len(swarm.killed)} kills")
    assert found == []
