"""The team server's files: what can be checked of them without a Docker engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
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
    assert set(ports) == SERVERS - {"s3"}  # artifacts go through the MLflow server
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
        if not service["image"].startswith("d2n:"):
            assert re.search(r":v?\d+", service["image"])


def _filled(value: Any, given: dict[str, str]) -> Any:
    """The file as compose reads it: every variable put in, secrets by a word."""
    if isinstance(value, dict):
        return {key: _filled(one, given) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, given) for one in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(
        lambda found: given.get(found[1]) or (found[3] if found[2] == ":-" else "aa11"), value
    )


def test_the_files_are_what_the_compose_specification_says(example: dict[str, str]) -> None:
    specification = pytest.importorskip("compose_spec", reason="compose-spec is not installed: make setup")
    for file in ("compose.yaml", "compose.auth.yaml"):
        text = (DOCKER / file).read_text(encoding="utf-8")
        filled = _filled(yaml.safe_load(text), example)
        if file == "compose.yaml":
            specification.PyCompose.from_json(json.dumps(filled)).validate()
        else:  # its networks and volumes are those of the first file
            specification.PyCompose.from_json(json.dumps(filled))
        filled["services"]["mlflow"]["mem_limits"] = "1g"
        with pytest.raises(ValueError, match="mem_limits"):
            specification.PyCompose.from_json(json.dumps(filled))


def test_every_container_is_bounded_and_gives_up_what_it_does_not_need(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["networks"], name
    added = {
        name: service["cap_add"] for name, service in compose["services"].items() if "cap_add" in service
    }
    assert set(added) == {"postgres", "backup", "restore"}
    foreign = [service["image"] for service in compose["services"].values() if "d2n" not in service["image"]]
    assert all(re.search(r":v?\d+\.\d+", image) for image in foreign)
    assert re.search(r"^FROM python:3\.\d+\.\d+-", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)


def test_one_service_builds_the_image_and_all_others_take_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if "build" in service] == ["prepare"]
    ours = {name for name, service in services.items() if service["image"] == services["prepare"]["image"]}
    assert ours == {"prepare", "mlflow", "dashboard", "worker", "worker-gpu"}
    assert {services[name]["pull_policy"] for name in ours - {"prepare"}} == {"never"}


def test_workers_and_people_do_not_reach_the_artifacts_store(compose: dict[str, Any]) -> None:
    reaches = {name: set(service["networks"]) for name, service in compose["services"].items()}
    assert {name for name, networks in reaches.items() if "artifacts" in networks} == {
        "s3",
        "prepare",
        "mlflow",
    }
    assert reaches["s3"] == {"artifacts"}
    assert compose["networks"]["artifacts"] == {"internal": True}
    assert set().union(*reaches.values()) == set(compose["networks"])


def test_the_users_lie_in_postgresql_and_their_file_is_private(tmp_path: Path) -> None:
    with_login = _script("with_login")
    uri = "postgresql+psycopg2://auth:p%40ss@postgres:5432/auth"
    path = with_login.written(uri, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    found = subprocess.run(
        [sys.executable, "-c", _READ_AUTH],
        env={**os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [uri, "EDIT", "300", "admin"]
    auth = yaml.safe_load((DOCKER / "compose.auth.yaml").read_text(encoding="utf-8"))
    for name in ("prepare", "mlflow"):
        assert "@postgres:5432/auth" in auth["services"][name]["environment"]["MLFLOW_AUTH_DATABASE_URI"]
    assert auth["services"]["mlflow"]["entrypoint"] == ["python", "/app/docker/with_login.py"]
    done = subprocess.run(
        [sys.executable, DOCKER / "with_login.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "expected MLFLOW_AUTH_DATABASE_URI" in done.stderr


_READ_AUTH = """
import importlib.util, pathlib, mlflow
place = pathlib.Path(mlflow.__file__).parent / "server" / "auth" / "config.py"
spec = importlib.util.spec_from_file_location("config", place)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
read = module.read_auth_config()
print(read.database_uri, read.default_permission, read.auth_cache_ttl_seconds, read.admin_username)
"""


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCKER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.parametrize("script", ["postgres/init-databases.sh", "backup/backup.sh", "backup/restore.sh"])
def test_shell_script_has_no_syntax_error(script: str) -> None:
    subprocess.run(["sh", "-n", str(DOCKER / script)], check=True)
    assert os.access(DOCKER / script, os.X_OK)


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


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated")  # MLflow's server imports it
@pytest.mark.filterwarnings("ignore:No path_separator found")  # MLflow's own alembic configuration
def test_what_was_backed_up_comes_back_whole_and_damage_is_refused(
    prepare: Any, postgres: dict[str, str], tmp_path: Path
) -> None:
    passwords = {"MLFLOW_DB_PASSWORD": "aa11", "OPTUNA_DB_PASSWORD": "bb22", "AUTH_DB_PASSWORD": "cc33"}
    places = {"BACKUPS": str(tmp_path / "backups"), "ARTIFACTS": str(tmp_path / "artifacts")}
    environment = {**postgres, **passwords, **places, "PGUSER": "postgres"}
    subprocess.run(
        ["sh", str(DOCKER / "postgres" / "init-databases.sh")],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    server = f"127.0.0.1:{postgres['PGPORT']}"
    uri = f"postgresql+psycopg2://mlflow:aa11@{server}/mlflow"
    users = f"postgresql+psycopg2://auth:cc33@{server}/auth"
    prepare.upgrade_mlflow(uri)
    assert prepare.prepare_login(users, "a long password")
    assert not prepare.prepare_login(users, "another")
    _execute(uri, "insert into experiments (name, artifact_location) values ('d2n/toycity', 'x')")
    (tmp_path / "artifacts" / "mlflow").mkdir(parents=True)
    (tmp_path / "artifacts" / "mlflow" / "sheet.png").write_bytes(b"picture")

    def run(script: str, *arguments: str, **more: str) -> Any:
        return subprocess.run(
            ["sh", str(DOCKER / "backup" / script), *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("backup.sh")
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    assert {path.name for path in backup.iterdir()} == {
        "mlflow.dump",
        "optuna.dump",
        "auth.dump",
        "artifacts.tar",
        "SHA256SUMS",
    }
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]

    _execute(uri, "delete from experiments where name = 'd2n/toycity'")
    assert "there are artifacts" in run("restore.sh", backup.name).stderr
    shutil.rmtree(tmp_path / "artifacts" / "mlflow")
    assert "is no backup" in run("restore.sh", "elsewhere").stderr
    done = run("restore.sh", backup.name)
    assert done.returncode == 0, done.stderr
    assert _execute(uri, "select artifact_location from experiments where name = 'd2n/toycity'") == [("x",)]
    assert (tmp_path / "artifacts" / "mlflow" / "sheet.png").read_bytes() == b"picture"
    assert not prepare.prepare_login(users, "")  # the administrator is there

    with (backup / "mlflow.dump").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    done = run("restore.sh", backup.name, OVERWRITE="yes")
    assert done.returncode == 1
    assert "was damaged" in done.stderr
    assert _execute(uri, "select count(*) from experiments where name = 'd2n/toycity'") == [(1,)]


def _execute(uri: str, statement: str) -> list[tuple[Any, ...]]:
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.begin() as connection:
            found = connection.execute(sqlalchemy.text(statement))
            return [tuple(row) for row in found] if found.returns_rows else []
    finally:
        engine.dispose()


def _tables(uri: str) -> list[str]:
    engine = sqlalchemy.create_engine(uri)
    try:
        return sorted(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
