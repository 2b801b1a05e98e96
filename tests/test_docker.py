"""The team server's files: what can be checked of them without a Docker engine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
SERVERS = {"postgres", "s3", "mlflow", "dashboard"}
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:[-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def prepare() -> Any:
    spec = importlib.util.spec_from_file_location("prepare_server", DOCKER / "prepare_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_port_is_shown_to_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = {name: port for name, service in compose["services"].items() for port in service.get("ports", [])}
    assert set(ports) == SERVERS
    assert all(str(port).startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in ports.values())


def test_the_defaults_of_the_example_are_those_of_compose(example: dict[str, str]) -> None:
    for name, kind, value in _VARIABLE.findall(COMPOSE.read_text(encoding="utf-8")):
        if kind == ":-":
            assert example[name] == value, name
    assert example["BIND_ADDRESS"] == "127.0.0.1"


@pytest.mark.parametrize("file", ["compose.yaml", "compose.auth.yaml"])
def test_every_variable_is_explained_and_no_secret_has_a_value(file: str, example: dict[str, str]) -> None:
    variables = _VARIABLE.findall((DOCKER / file).read_text(encoding="utf-8"))
    assert {name for name, _, _ in variables} <= set(example)
    required = {name for name, kind, _ in variables if kind == ":?"}
    assert required
    secret = {name for name in example if re.search(r"PASSWORD|SECRET|ACCESS_KEY", name)}
    assert required <= secret
    assert all(example[name] == "" for name in secret)
    by_default = {name: value for name, kind, value in variables if kind == ":-" and name in secret}
    assert all(value == "" for value in by_default.values())


def test_the_example_names_nothing_that_is_not_used(example: dict[str, str]) -> None:
    text = COMPOSE.read_text(encoding="utf-8") + (DOCKER / "compose.auth.yaml").read_text(encoding="utf-8")
    assert set(example) == {name for name, _, _ in _VARIABLE.findall(text)}


def test_filled_in_env_is_ignored_by_git() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_servers_tell_their_health_and_others_wait_for_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert all("healthcheck" in services[name] for name in SERVERS)
    waits = {name: service.get("depends_on", {}) for name, service in services.items()}
    for dependencies in waits.values():
        for target, condition in dependencies.items():
            healthy = condition["condition"] == "service_healthy"
            assert ("healthcheck" in services[target]) if healthy else (services[target]["restart"] == "no")
    assert set(waits["prepare"]) == {"postgres", "s3"}
    for name in ("mlflow", "dashboard", "worker", "worker-gpu"):
        assert waits[name]["prepare"]["condition"] == "service_completed_successfully"


def test_mlflow_and_optuna_have_a_database_each(compose: dict[str, Any]) -> None:
    environment = compose["services"]["prepare"]["environment"]
    databases = {
        environment[key].rpartition("/")[2] for key in ("MLFLOW_BACKEND_STORE_URI", "D2N_STUDY_STORAGE")
    }
    assert databases == {"mlflow", "optuna"}


def test_workers_see_no_key_of_the_store_and_no_password_of_mlflow(compose: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        environment = compose["services"][name]["environment"]
        assert not {key for key in environment if key.startswith("AWS_")}
        assert "MLFLOW_DB_PASSWORD" not in str(environment)


def test_the_server_serves_the_artifacts_and_names_its_hosts(compose: dict[str, Any]) -> None:
    auth = yaml.safe_load((DOCKER / "compose.auth.yaml").read_text(encoding="utf-8"))
    plain, with_login = compose["services"]["mlflow"]["command"], auth["services"]["mlflow"]["command"]
    for command in (plain, with_login):
        assert command[command.index("--artifacts-destination") + 1].startswith("s3://")
        assert "mlflow:*" in command[command.index("--allowed-hosts") + 1]
    assert [part for part in with_login if part not in ("--app-name", "basic-auth")] == plain


def test_workers_run_the_search_and_keep_checkpoints_on_a_shared_volume(compose: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        service = compose["services"][name]
        assert service["command"][:2] == ["d2n", "search"]
        assert "work:/app/mlruns" in service["volumes"]
        assert service["init"] is True
    study = _VARIABLE.fullmatch(compose["services"]["worker"]["command"][2])
    assert study is not None
    assert study.group(3).startswith("optuna_studies/")


def test_named_volumes_are_declared_and_foreign_images_pinned(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith((".", "$")) or source in compose["volumes"]
        if "build" not in service:
            assert re.search(r":v?\d+", service["image"])


def test_image_copies_only_what_reaches_its_build() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    assert {f"!{name}" for name in copied} == {line for line in ignore if line.startswith("!")}
    assert "USER d2n" in text


def test_bucket_is_made_once(prepare: Any) -> None:
    class Client:
        def __init__(self) -> None:
            self.names: list[str] = []

        def list_buckets(self) -> dict[str, Any]:
            return {"Buckets": [{"Name": name} for name in self.names]}

        def create_bucket(self, *, Bucket: str) -> None:  # boto3's own spelling
            self.names.append(Bucket)

    client = Client()
    assert prepare.make_bucket(client, "mlflow")
    assert not prepare.make_bucket(client, "mlflow")
    assert client.names == ["mlflow"]


@pytest.mark.slow
def test_schemas_are_made_and_a_second_run_changes_nothing(prepare: Any, tmp_path: Path) -> None:
    mlflow_uri, optuna_url = f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/optuna.db"
    found = []
    for _ in range(2):
        prepare.upgrade_mlflow(mlflow_uri)
        prepare.upgrade_optuna(optuna_url)
        found.append([_tables(mlflow_uri), _tables(optuna_url)])
    assert found[0] == found[1]
    assert "experiments" in found[0][0]
    assert "trials" in found[0][1]


def test_shell_script_has_no_syntax_error() -> None:
    subprocess.run(["sh", "-n", str(DOCKER / "postgres" / "init-databases.sh")], check=True)
    assert os.access(DOCKER / "postgres" / "init-databases.sh", os.X_OK)


@pytest.fixture
def postgres() -> Iterator[dict[str, str]]:
    """An empty server on 127.0.0.1; the environment that reaches it as its superuser."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("no initdb and pg_ctl on the PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="d2n-pg-"))  # a socket's path is short; that of tmp_path is not
    as_owner: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
        as_owner = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    control = [*as_owner, "pg_ctl", "-D", f"{folder}/data", "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    try:
        subprocess.run(
            [*as_owner, "initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust"], **quiet
        )
        subprocess.run([*control, "-o", options, "-l", f"{folder}/log", "start"], **quiet)
        yield {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port)}
        subprocess.run([*control, "-m", "fast", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.postgres
def test_databases_of_the_server_are_made_and_closed_to_each_other(
    prepare: Any, postgres: dict[str, str]
) -> None:
    passwords = {"MLFLOW_DB_PASSWORD": "aa11", "OPTUNA_DB_PASSWORD": "bb22"}
    script = str(DOCKER / "postgres" / "init-databases.sh")
    subprocess.run(["sh", script], env={**postgres, **passwords}, check=True, stdout=subprocess.DEVNULL)
    server = f"127.0.0.1:{postgres['PGPORT']}"
    mlflow_uri = f"postgresql+psycopg2://mlflow:aa11@{server}/mlflow"
    optuna_url = f"postgresql+psycopg2://optuna:bb22@{server}/optuna"
    for _ in range(2):
        prepare.upgrade_mlflow(mlflow_uri)
        prepare.upgrade_optuna(optuna_url)
    assert "experiments" in _tables(mlflow_uri)
    assert "trials" in _tables(optuna_url)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="permission denied for database"):
        _tables(optuna_url.removesuffix("optuna") + "mlflow")


def _tables(uri: str) -> list[str]:
    engine = sqlalchemy.create_engine(uri)
    try:
        return sorted(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
