"""The team server with log-in under many clients: nothing refused, nothing lost, and how long a request takes.

    pytest benchmarks/test_team_server.py -m "" -s
    D2N_CLIENTS=16 D2N_SECONDS=120 pytest benchmarks/test_team_server.py -m "" -s -k cache300

Each client is a process and a member of its own who writes batches of ten metrics into a run of one experiment, as
fast as the server answers. Then every step that was acknowledged is counted in the store. Needs PostgreSQL's programs
and the extra `stack`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CLIENTS = int(os.environ.get("D2N_CLIENTS", "16"))
SECONDS = float(os.environ.get("D2N_SECONDS", "120"))
METRICS = 10


def be_client(number: int, folder: Path) -> None:
    """Log until the time is over; write down what was acknowledged and what was not."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.create_run((folder / "experiment").read_text()).info.run_id
    (folder / f"ready-{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    end = time.monotonic() + SECONDS
    took: list[float] = []
    errors: list[str] = []
    acknowledged: list[int] = []
    step = 0
    while time.monotonic() < end:
        now = int(time.time() * 1000)
        batch = [Metric(f"m{i}", float(step), now, step) for i in range(METRICS)]
        begun = time.perf_counter()
        try:
            client.log_batch(run, metrics=batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            errors.append(f"{type(error).__name__}: {str(error)[:200]}")
        else:
            took.append(time.perf_counter() - begun)
            acknowledged.append(step)
        step += 1
    found = {"run": run, "took": took, "errors": errors, "acknowledged": acknowledged}
    (folder / f"client-{number}.json").write_text(json.dumps(found))


def count(runs: list[str]) -> dict[str, dict[str, list[int]]]:
    """Of every run, the steps of each metric in the store."""
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    return {
        run: {f"m{i}": [one.step for one in client.get_metric_history(run, f"m{i}")] for i in range(METRICS)}
        for run in runs
    }


def _run(environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, *arguments], env=environment)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cache_s", [300, 0], ids=["cache300", "no-cache"])
def test_many_clients_lose_nothing(tmp_path: Path, cache_s: int) -> None:
    from tests import team
    from tests.tracking.servers import Postgres, wait_until

    if not Postgres.is_here():
        pytest.skip("no initdb and pg_ctl on the PATH")
    for needed in team.NEEDED:
        pytest.importorskip(needed)
    names = [f"member{number}" for number in range(CLIENTS)]
    with team.server(tmp_path, cache_s=cache_s) as environment:
        environments = team.members(environment, names)
        admin = team.member(environment, "admin")
        made = subprocess.run(
            [sys.executable, __file__, "experiment"], env=admin, check=True, capture_output=True, text=True
        )
        (tmp_path / "experiment").write_text(made.stdout.split()[-1])
        clients = [_run(environments[name], "client", str(i), str(tmp_path)) for i, name in enumerate(names)]
        wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == CLIENTS, "every client", seconds=1200)
        load = os.getloadavg()[0]
        (tmp_path / "go").touch()
        assert [client.wait(SECONDS + 600) for client in clients] == [0] * CLIENTS
        found = [json.loads((tmp_path / f"client-{i}.json").read_text()) for i in range(CLIENTS)]
        (tmp_path / "runs").write_text(json.dumps([one["run"] for one in found]))
        assert _run(admin, "count", str(tmp_path)).wait(1200) == 0
        stored = json.loads((tmp_path / "counted.json").read_text())
    _tell(cache_s, found, load)
    assert [error for one in found for error in one["errors"]] == []
    for one in found:
        assert len(one["acknowledged"]) > 0
        for steps in stored[one["run"]].values():
            assert sorted(steps) == one["acknowledged"]  # each once: nothing lost, nothing double


def _tell(cache_s: int, found: list[dict[str, Any]], load: float) -> None:
    took = sorted(second for one in found for second in one["took"])
    each = f"{CLIENTS} clients, {SECONDS:.0f} s, password cache {cache_s or 'none'}"
    p50, p95 = statistics.median(took), took[int(0.95 * (len(took) - 1))]
    print(
        f"\n{each}: {len(took)} batches of {METRICS} metrics ({60 * len(took) / SECONDS:.0f} a minute), "
        f"{sum(len(one['errors']) for one in found)} errors, p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, "
        f"longest {1000 * took[-1]:.0f} ms; load at the start {load:.1f} on {os.cpu_count()} cores"
    )


def main() -> None:
    """What a process of the benchmark does."""
    what, *arguments = sys.argv[1:]
    if what == "experiment":
        from mlflow import MlflowClient

        print(MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).create_experiment("team"))
    elif what == "client":
        be_client(int(arguments[0]), Path(arguments[1]))
    else:
        folder = Path(arguments[0])
        counted = count(json.loads((folder / "runs").read_text()))
        (folder / "counted.json").write_text(json.dumps(counted))


if __name__ == "__main__":
    main()
