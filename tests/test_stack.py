"""The team server without containers (tests/team.py), and two members who work on it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests import team
from tests.tracking.servers import Postgres

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(1800)]
TINY = {
    "preset": "toy",
    "dataset": {"name": "toycity", "image_size_px": 32},
    "translator": {"method": "pix2pix", "generator_channels": 4, "discriminator_channels": 4, "unet_depth": 3},
    "training": {"n_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "device": "cpu", "num_threads": 1},
    "evaluation": {
        "every_epochs": 1, "extractor": "random-squeezenet1_0", "num_images": 8, "num_bootstrap": 3,
        "num_clusters": 3, "num_samples": 2, "scores": ["fid"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Everything up; the environment of its clients, without a user."""
    if not Postgres.is_here():
        pytest.skip("no initdb and pg_ctl on the PATH")
    for needed in team.NEEDED:
        pytest.importorskip(needed)
    with team.server(tmp_path_factory.mktemp("stack")) as environment:
        yield environment


@pytest.fixture(scope="module")
def members(stack: dict[str, str]) -> dict[str, dict[str, str]]:
    """Two members whom the administrator made; the environment of each."""
    return team.members(stack, ("ann", "ben"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy city, an experiment and a study."""
    from d2n.datasets import toycity

    folder = tmp_path_factory.mktemp("project")
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "name": "tiny"}))
    study = {
        "name": "tiny_study",
        "experiment": "tiny.yaml",
        "objective": {"score": "fid", "direction": "minimize"},
        "stop": {"trials": 2},
        "space": {"translator.lr": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def d2n(environment: dict[str, str], folder: Path, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "d2n", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def well(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    done = d2n(environment, folder, *arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return str(done.stdout)


def asked(environment: dict[str, str], program: str, *arguments: str) -> Any:
    """What a program of a member's own finds on the server: the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


_RUNS = """
import json, os
from mlflow import MlflowClient
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
experiment = client.get_experiment_by_name("d2n/toycity")
told = []
for run in client.search_runs([experiment.experiment_id]):
    tags, name = run.data.tags, run.info.run_id
    files = [one.path for one in client.list_artifacts(name)]
    config = ""
    if "config" in files:
        path = client.download_artifacts(name, "config/resolved.json")
        config = json.load(open(path)).get("name", "")
    told.append({
        "id": name, "kind": tags["d2n.kind"], "status": run.info.status, "experiment": run.info.experiment_id,
        "seed": tags.get("d2n.seed"), "trial": tags.get("d2n.trial"),
        "state": tags.get("d2n.trial.state"), "parent": tags.get("mlflow.parentRunId"),
        "model": tags.get("d2n.model_id"), "fid": next((v for k, v in run.data.metrics.items()
            if k.startswith("score/fid")), None),
        "rate": next((v for k, v in run.data.params.items() if k.startswith("search/")), None),
        "artifacts": files, "config_name": config,
    })
print(json.dumps(told))
"""


def test_nobody_gets_in_without_a_password(stack: dict[str, str], project: Path) -> None:
    wrong = {**stack, "MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "wrong"}
    for environment in (stack, wrong):
        done = d2n(environment, project, "registry", "list")
        assert done.returncode == 2
        last = done.stderr.strip().splitlines()[-1]
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in last
        assert "Traceback" not in done.stderr


def test_both_train_into_the_experiment_that_one_made(
    members: dict[str, dict[str, str]], project: Path
) -> None:
    well(members["ann"], project, "train", "tiny.yaml")
    well(members["ben"], project, "train", "tiny.yaml", "--set", "seed=1")
    runs = [run for run in asked(members["ben"], _RUNS) if run["kind"] == "translation"]
    assert {(run["seed"], run["status"]) for run in runs} == {("0", "FINISHED"), ("1", "FINISHED")}
    assert len({run["experiment"] for run in runs}) == 1
    for run in runs:
        assert run["fid"] > 0
        assert run["model"]
        assert {"config", "samples", "tables"} <= set(run["artifacts"])
        assert run["config_name"] == "tiny"


def test_one_goes_on_with_the_study_of_the_other(members: dict[str, dict[str, str]], project: Path) -> None:
    well(members["ann"], project, "search", "study.yaml", "--trials", "1")
    well(members["ben"], project, "search", "study.yaml", "--trials", "1")
    runs = asked(members["ann"], _RUNS)
    (study,) = [run for run in runs if run["kind"] == "study"]
    trials = sorted((run for run in runs if run["trial"] is not None), key=lambda run: run["trial"])
    assert [(run["trial"], run["state"], run["parent"]) for run in trials] == [
        ("0", "COMPLETE", study["id"]),
        ("1", "COMPLETE", study["id"]),
    ]
    assert len({run["rate"] for run in trials} - {None}) == 2
    told = well(members["ben"], project, "search", "status", "tiny_study")
    assert "2 complete" in told


def test_one_decides_about_the_model_that_the_other_registered(
    members: dict[str, dict[str, str]], project: Path
) -> None:
    rule = ("--no-retrain", "--set", "refuse_alarms=[]")
    assert "d2n-toycity" in well(members["ann"], project, "promote", "toycity", *rule)
    well(members["ben"], project, "promote", "toycity", *rule)
    well(members["ben"], project, "pull", "d2n-toycity@champion", "pulled")
    assert list((project / "pulled").rglob("*.safetensors"))


def test_the_report_reads_through_the_server(members: dict[str, dict[str, str]], project: Path) -> None:
    well(members["ann"], project, "report", "--out", "report")
    assert "pix2pix" in (project / "report" / "report.html").read_text(encoding="utf-8")


def test_requests_are_cheap_once_a_password_is_known(members: dict[str, dict[str, str]]) -> None:
    repeated = """
import os, sys
from mlflow import MlflowClient
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
for _ in range(int(sys.argv[1])):
    client.search_experiments()
"""
    before, count = _cpu_of_servers(), 60
    subprocess.run([sys.executable, "-c", repeated, str(count)], env=members["ann"], check=True)
    assert (_cpu_of_servers() - before) / count < 0.15  # s; hashing a password with each takes 0.35


def _cpu_of_servers() -> float:
    """Seconds of processor time that the MLflow server's processes have taken; waiting for others does not count."""
    found = [one for one in psutil.Process().children(recursive=True) if "mlflow" in " ".join(one.cmdline())]
    assert found
    return sum(one.cpu_times().user + one.cpu_times().system for one in found)


def test_a_members_run_is_anothers_to_read_and_the_makers_to_delete(
    members: dict[str, dict[str, str]],
) -> None:
    asked = """
import os, sys
from mlflow import MlflowClient
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
if sys.argv[1] == "make":
    print(client.create_experiment(f"of {os.environ['MLFLOW_TRACKING_USERNAME']}"))
else:
    client.delete_experiment(sys.argv[2])
"""

    def ask(member: str, *arguments: str) -> Any:
        command = [sys.executable, "-c", asked, *arguments]
        return subprocess.run(command, env=members[member], capture_output=True, text=True, check=False)

    made = ask("ann", "make").stdout.strip()
    refused = ask("ben", "delete", made)
    assert refused.returncode != 0
    assert "403" in refused.stderr
    assert ask("ann", "delete", made).returncode == 0
