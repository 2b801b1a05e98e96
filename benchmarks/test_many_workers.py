"""Many workers on one study in one PostgreSQL: how long a claim takes, what the server does, and that none is double.

    pytest benchmarks/test_many_workers.py -m postgres -s
    D2N_WORKERS=200 D2N_CLAIMS=10000 pytest benchmarks/test_many_workers.py -m postgres -s -k double

Workers are threads of four processes, each with connections of its own, as on so many machines. Their trials sleep.
Beside them stand Optuna's plain storage and its gRPC proxy (the extra ``bench``), whose ``ask`` is their claim; neither
has leases, so that a lost trial stays lost. Processes are killed and stopped beyond their leases while `double` runs;
every claim and every end is written down. Then what the sampler costs with 10,000 trials, and 200 runs that log into
one MLflow server.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from d2n import studies
from d2n.studies.claims import Claim, claim
from d2n.studies.leases import LeaseTable, this_process
from d2n.studies.space import distribution
from d2n.studies.study import load_optuna
from d2n.tracking.runs import open_store
from tests.tracking.servers import MlflowServer, Postgres, free_port

WORKERS = int(os.environ.get("D2N_WORKERS", "200"))
CLAIMS = int(os.environ.get("D2N_CLAIMS", "10000"))
PROCESSES = 4
MEAN_S = float(os.environ.get("D2N_TRIAL_S", "60"))
_PROCESS = str(Path(__file__).with_name("many_workers.py"))
SPACE = """\
experiment: e.yaml
space:
  translator.lr: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  translator.lambda_l1: {type: float, low: 10, high: 300, log: true}
pruner: none
"""


class Place:
    """A study in a PostgreSQL of its own, and processes of workers."""

    def __init__(self, folder: Path, server: Postgres, trials: int, sampler: str, lease_s: float) -> None:
        self.folder, self.url, self.trials = folder, studies.storage_url(server.uri), trials
        (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
        rules = f"name: s\nsampler: {sampler}\nstop: {{trials: {trials}}}\nlease_s: {lease_s}\nmax_attempts: 1000\n"
        (folder / "s.yaml").write_text(rules + SPACE)
        studies.open_study(studies.load_study(folder / "s.yaml"), self.url)

    def start(self, index: int, workers: int, mean_s: float) -> subprocess.Popen[bytes]:
        return start(self.folder, "d2n", self.url, index, workers, mean_s)

    def done(self) -> int:
        return sum(lease.state == "done" for lease in LeaseTable(self.url).all("s"))


def start(
    folder: Path, what: str, url: str, index: int, workers: int, seconds: float
) -> subprocess.Popen[bytes]:
    each = workers // PROCESSES
    command = [sys.executable, _PROCESS, what, str(folder), url, str(index * each), str(each), str(seconds)]
    with (folder / "errors.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def told(folder: Path) -> list[dict[str, Any]]:
    """What all workers wrote down, in the order of time."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((json.loads(line) for line in lines if line.endswith("}")), key=lambda one: one["at"])


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
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of the proxy
@pytest.mark.parametrize("what", ["d2n, random", "d2n, tpe", "Optuna, plain", "Optuna, gRPC proxy"])
def test_a_claim_among_many_workers(
    tmp_path: Path, server: Postgres, what: str, request: pytest.FixtureRequest
) -> None:
    trials = 3 * WORKERS
    own, _, kind = what.partition(", ")
    proxy = None
    if own == "d2n":
        url = Place(tmp_path, server, trials, kind, lease_s=300).url
    else:
        url = studies.storage_url(server.uri)
        (tmp_path / "trials").write_text(str(trials // PROCESSES))  # of each
        optuna.create_study(study_name="plain", storage=optuna.storages.RDBStorage(url))
        if kind == "gRPC proxy":
            pytest.importorskip("grpc")
            port = free_port()
            proxy = subprocess.Popen([sys.executable, _PROCESS, "proxy", url, str(port)])
            url = f"127.0.0.1:{port}"
            request.addfinalizer(proxy.wait)
            request.addfinalizer(proxy.kill)  # first
            optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port).wait_server_ready(60)
    begun, busy = time.monotonic(), _server_seconds(tmp_path)
    running = [start(tmp_path, own, url, i, WORKERS, MEAN_S) for i in range(PROCESSES)]
    for process in running:
        assert process.wait() == 0, (tmp_path / "errors.txt").read_text()[-2000:]
    took_s = time.monotonic() - begun
    claims = [one for one in told(tmp_path) if one["what"] == "claim"]
    print(f"\n{WORKERS} workers, trials of {MEAN_S:.0f} s, {what}: {len(claims)} claims in {took_s:.0f} s")
    for label, some in (("all begin at once", claims[:WORKERS]), ("then", claims[WORKERS:])):
        print(f"{label:>18}: {_spread([one['s'] for one in some])}")
    used = f"{(_server_seconds(tmp_path) - busy) / len(claims) * 1e3:.0f} ms of a core a claim"
    if proxy is not None:
        times = psutil.Process(proxy.pid).cpu_times()
        used += f", and the proxy {(times.user + times.system) / len(claims) * 1e3:.0f} ms"
    print(f"{'PostgreSQL':>18}: {used}; load of the machine {os.getloadavg()[0]:.1f}")
    assert len({one["trial"] for one in claims}) == trials


def disturbed(place: Place, running: dict[int, subprocess.Popen[bytes]]) -> tuple[int, int]:
    """Kill and stop processes until all trials have ended; (kills, stops)."""
    rng, kills, pauses, before = random.Random(0), 0, 0, 0
    while (done := place.done()) < CLAIMS:
        time.sleep(15)
        index = rng.randrange(PROCESSES)
        if all(process.poll() is not None for process in running.values()) and place.done() < CLAIMS:
            pytest.fail((place.folder / "errors.txt").read_text()[-2000:])
        if running[index].poll() is not None or done - before < CLAIMS // 100:
            continue  # however slow the machine is, some trials end between two of them
        before = done
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
        process.wait(120)
    return kills, pauses


@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_no_claim_is_double_when_workers_are_killed_and_stopped(tmp_path: Path, server: Postgres) -> None:
    place = Place(tmp_path, server, CLAIMS, "random", lease_s=8)
    running = {i: place.start(i, WORKERS, 0.2) for i in range(PROCESSES)}
    try:
        kills, pauses = disturbed(place, running)
    finally:
        for process in running.values():
            process.kill()
    claims = [one for one in told(tmp_path) if one["what"] == "claim"]
    print(f"\nthe last thousand claims: {_spread([one['s'] for one in claims[-1000:]])}")
    holders = Counter((one["trial"], one["attempt"]) for one in claims)
    double = [key for key, count in holders.items() if count > 1]
    study = load_optuna(place.url, "s")
    states = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    print(
        f"{len(claims)} claims of {CLAIMS} trials by {WORKERS} workers; {kills} kills, {pauses} stops of a quarter"
    )
    print(f"double claims: {len(double)}; {dict(states)}")
    assert not double
    assert states == {"COMPLETE": CLAIMS}


def test_what_a_claim_reads(tmp_path: Path) -> None:
    """CPU of one claim beside half the workers' running trials, and of what it would read through Optuna. On SQLite."""
    (tmp_path / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (tmp_path / "s.yaml").write_text(f"name: s\nsampler: random\nstop: {{trials: 100000}}\n{SPACE}")
    study = studies.open_study(studies.load_study(tmp_path / "s.yaml"), f"sqlite:///{tmp_path}/optuna.db")
    space = {key: distribution(one) for key, one in study.definition.config.space.items()}
    me = this_process("m")
    for pid in range(WORKERS // 2):
        found = claim(study, replace(me, pid=pid, processes=f"m{pid}", pid_started=0.0))
        assert isinstance(found, Claim)
        for key, one in space.items():
            found.trial._suggest(key, one)
        for key in ("mlflow_run_id", "d2n.protocol", "d2n.job", "seed", "attempt", "scores"):
            found.trial.set_user_attr(key, key)
    numbers = iter(range(WORKERS, 2 * WORKERS))
    states = (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING)
    print(f"\nbeside {WORKERS // 2} running trials, CPU:")
    for name, call in (
        ("Optuna's trials that run", lambda: study.optuna.get_trials(deepcopy=False, states=states)),
        ("their numbers alone", study.unfinished),
        ("a whole claim", lambda: claim(study, replace(me, processes=f"m{next(numbers)}", pid_started=0.0))),
    ):
        call()
        begun = time.process_time()
        for _ in range(5):
            call()
        print(f"{name:>26}: {(time.process_time() - begun) / 5 * 1e3:6.1f} ms")


@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_what_the_sampler_costs(tmp_path: Path, server: Postgres) -> None:
    """Seconds of one worker to draw the settings of a trial, by the trials that have ended."""
    Place(tmp_path, server, 100_000, "tpe", lease_s=300)
    study = studies.open_study(studies.load_study(tmp_path / "s.yaml"), studies.storage_url(server.uri))
    space = {key: distribution(one) for key, one in study.definition.config.space.items()}
    rng = random.Random(0)
    print()
    for count in (100, 1000, 5000, 10_000):
        for _ in range(count - len(study.trials())):
            params = {
                "translator.lr": 10 ** rng.uniform(-5, -2),
                "translator.lambda_l1": rng.uniform(10, 300),
            }
            value = abs(params["translator.lambda_l1"] - 50)
            study.optuna.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=value))
        study.optuna.ask(space)  # reads what was put in
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            trial = study.optuna.ask()
            asked = time.perf_counter()
            for key, one in space.items():
                trial._suggest(key, one)
            took.append((asked - begun, time.perf_counter() - asked))
        ask_s, draw_s = (statistics.median(column) for column in zip(*took, strict=True))
        print(f"{count:6d} trials: ask {ask_s:.3f} s, draw {draw_s:.3f} s")


@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_many_runs_log_into_one_server(tmp_path: Path, server: Postgres) -> None:
    """Eight losses every ten seconds a run, which is an epoch of a small training."""
    mlflow = MlflowServer(tmp_path, server.uri)
    mlflow.start()
    try:
        open_store(mlflow.uri)
        busy, served = _server_seconds(tmp_path), _seconds_of(mlflow.pid)
        begun = time.monotonic()
        running = [start(tmp_path, "log", mlflow.uri, i, WORKERS, 10.0) for i in range(PROCESSES)]
        for process in running:
            assert process.wait() == 0, (tmp_path / "errors.txt").read_text()[-2000:]
        took_s = time.monotonic() - begun
        logged = [one["s"] for one in told(tmp_path) if one["what"] == "log"]
        print(f"\n{WORKERS} runs, {len(logged)} batches of 8 metrics in {took_s:.0f} s: {_spread(logged)}")
        each = [
            1e3 * (now - then) / len(logged)
            for now, then in ((_server_seconds(tmp_path), busy), (_seconds_of(mlflow.pid), served))
        ]
        print(
            f"of a core a batch: PostgreSQL {each[0]:.0f} ms, MLflow {each[1]:.0f} ms (runs' begin and end included)"
        )
    finally:
        mlflow.stop()


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[int(0.95 * len(ordered))]
    return f"median {statistics.median(ordered):.3f} s, p95 {p95:.3f} s, longest {ordered[-1]:.3f} s"


def _server_seconds(folder: Path) -> float:
    """CPU seconds of the PostgreSQL of a folder, with the connections that ended."""
    return _seconds_of(int((folder / "postgres/cluster/postmaster.pid").read_text().split()[0]))


def _seconds_of(pid: int | None) -> float:
    """CPU seconds of a process and of all below it."""
    assert pid is not None
    total = 0.0
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
