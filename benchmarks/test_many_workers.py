"""Many workers on one study in one PostgreSQL: how long a claim takes, what the server does, and that none is double.

    pytest benchmarks/test_many_workers.py -s
    D2N_WORKERS=200 D2N_CLAIMS=10000 pytest benchmarks/test_many_workers.py -s -k double

Workers are threads of four processes, each with connections of its own, as on so many machines. Their trials sleep.
Processes are killed and stopped beyond their leases while `double` runs; every claim and every end is written down.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from d2n import studies
from d2n.studies import worker
from d2n.studies.leases import LeaseTable, this_process
from d2n.studies.study import load_optuna
from tests.tracking.servers import Postgres

WORKERS = int(os.environ.get("D2N_WORKERS", "200"))
CLAIMS = int(os.environ.get("D2N_CLAIMS", "10000"))
PROCESSES = 4
SPACE = """\
experiment: e.yaml
space:
  translator.lr: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  translator.lambda_l1: {type: float, low: 10, high: 300, log: true}
pruner: none
"""


class Sleeping:
    """A worker's trials: each sleeps; claims and ends are timed and written down."""

    def __init__(self, name: str, mean_s: float, log: Any) -> None:
        self._name, self._mean_s, self._log = name, mean_s, log
        self._rng, self._trial = random.Random(name), -1

    def run(self, trial: worker.ClaimedTrial) -> worker.Outcome:
        self._trial = trial.number
        self._say("claim", trial=trial.number, attempt=trial.attempt, s=self._last_s)
        time.sleep(self._rng.expovariate(1 / self._mean_s) if self._mean_s else 0)
        return worker.Outcome(values=(self._rng.random(),))

    def settle(self, trial: optuna.trial.FrozenTrial) -> None:
        self._say("end", trial=trial.number)

    @contextmanager
    def timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._last_s = time.perf_counter() - begun

    def _say(self, what: str, **known: Any) -> None:
        self._log.write(json.dumps({"what": what, "worker": self._name, "at": time.time(), **known}) + "\n")
        self._log.flush()


def be_workers(folder: Path, url: str, first: int, count: int, mean_s: float) -> None:
    """A process of so many workers."""
    definition = studies.load_study(folder / "s.yaml")

    def life(index: int) -> None:
        name = f"m{index}"
        me = replace(this_process(name), machine=name, processes=name, pid=index, pid_started=0.0)
        with (folder / f"{os.getpid()}-{name}.jsonl").open("a") as log:
            sleeping = Sleeping(name, mean_s, log)
            study = studies.open_study(definition, url)
            for _ in worker.work(study, sleeping, name=me, undisturbed=sleeping.timed):
                pass

    threads = [threading.Thread(target=life, args=(first + i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Place:
    """A study in a PostgreSQL of its own, and processes of workers."""

    def __init__(self, folder: Path, server: Postgres, trials: int, sampler: str, lease_s: float) -> None:
        self.folder, self.url, self.trials = folder, studies.storage_url(server.uri), trials
        (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
        rules = f"name: s\nsampler: {sampler}\nstop: {{trials: {trials}}}\nlease_s: {lease_s}\nmax_attempts: 1000\n"
        (folder / "s.yaml").write_text(rules + SPACE)
        studies.open_study(studies.load_study(folder / "s.yaml"), self.url)

    def start(self, index: int, workers: int, mean_s: float) -> subprocess.Popen[bytes]:
        each = workers // PROCESSES
        command = [
            sys.executable,
            __file__,
            str(self.folder),
            self.url,
            str(index * each),
            str(each),
            str(mean_s),
        ]
        with (self.folder / "errors.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def told(self) -> list[dict[str, Any]]:
        lines = [line for path in self.folder.glob("*.jsonl") for line in path.read_text().splitlines()]
        return sorted((json.loads(line) for line in lines if line.endswith("}")), key=lambda one: one["at"])

    def done(self) -> int:
        return sum(lease.state == "done" for lease in LeaseTable(self.url).all("s"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    if not Postgres.is_here():
        pytest.skip("no PostgreSQL server programs on the PATH")
    made = Postgres(tmp_path / "postgres", max_connections=5 * WORKERS)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.postgres
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_claim_among_many_workers(tmp_path: Path, server: Postgres, sampler: str) -> None:
    mean_s, trials = 60.0, 3 * WORKERS
    place = Place(tmp_path, server, trials, sampler, lease_s=300)
    begun = time.monotonic()
    running = [place.start(i, WORKERS, mean_s) for i in range(PROCESSES)]
    busy = _server_seconds()
    for process in running:
        assert process.wait() == 0, (tmp_path / "errors.txt").read_text()[-2000:]
    took_s = time.monotonic() - begun
    claims = [one for one in place.told() if one["what"] == "claim"]
    first, later = claims[:WORKERS], claims[WORKERS:]
    print(f"\n{WORKERS} workers, trials of {mean_s:.0f} s, {sampler}: {len(claims)} claims in {took_s:.0f} s")
    for label, some in (("all begin at once", first), ("then", later)):
        seconds = sorted(one["s"] for one in some)
        p95 = seconds[int(0.95 * len(seconds))]
        print(
            f"{label:>18}: median {statistics.median(seconds):.3f} s, p95 {p95:.3f} s, longest {seconds[-1]:.3f} s"
        )
    print(
        f"{'PostgreSQL':>18}: {(_server_seconds() - busy) / took_s:.2f} cores, load {os.getloadavg()[0]:.1f}"
    )
    assert len({one["trial"] for one in claims}) == trials


@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_no_claim_is_double_when_workers_are_killed_and_stopped(tmp_path: Path, server: Postgres) -> None:
    place = Place(tmp_path, server, CLAIMS, "random", lease_s=8)
    running = {i: place.start(i, WORKERS, 0.2) for i in range(PROCESSES)}
    rng, kills, pauses = random.Random(0), 0, 0
    while place.done() < CLAIMS:
        time.sleep(15)
        index = rng.randrange(PROCESSES)
        if running[index].poll() is not None:
            continue
        if rng.random() < 0.5:
            running[index].kill()
            running[index].wait()
            running[index] = place.start(index, WORKERS, 0.2)
            kills += 1
        else:
            running[index].send_signal(signal.SIGSTOP)
            time.sleep(10)  # beyond every lease
            running[index].send_signal(signal.SIGCONT)
            pauses += 1
    for process in running.values():
        process.wait()
    told = place.told()
    claims = [one for one in told if one["what"] == "claim"]
    holders = Counter((one["trial"], one["attempt"]) for one in claims)
    double = [key for key, count in holders.items() if count > 1]
    study = load_optuna(place.url, "s")
    states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    print(
        f"\n{len(claims)} claims of {CLAIMS} trials by {WORKERS} workers; {kills} kills, {pauses} stops of a quarter"
    )
    print(f"double claims: {len(double)}; {dict(states)}")
    assert not double
    assert states == {"COMPLETE": CLAIMS}


def _server_seconds() -> float:
    """CPU seconds of every process of PostgreSQL."""
    total = 0.0
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            try:
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
            except psutil.NoSuchProcess:
                continue
    return total


if __name__ == "__main__":
    folder, url, first, count, mean_s = sys.argv[1:]
    with tempfile.TemporaryDirectory():
        be_workers(Path(folder), url, int(first), int(count), float(mean_s))
