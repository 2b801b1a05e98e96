"""The team server without containers, for tests and benchmarks: PostgreSQL, an S3 store, the MLflow server with log-in.

The same preparation, log-in file and commands as the containers run (docker/), as processes on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from tests.tracking.servers import Postgres, free_port, wait_until

DOCKER = Path(__file__).parents[1] / "docker"
PASSWORD = "a password for the test 1"  # noqa: S105 - of servers that live as long as the test
NEEDED = ("moto.server", "flask_wtf", "boto3")  # the extra `stack`
_SECRETS = {"MLFLOW_DB_PASSWORD": "aa11", "OPTUNA_DB_PASSWORD": "bb22", "AUTH_DB_PASSWORD": "cc33"}
_MADE = """
import sys
from mlflow.server.auth.client import AuthServiceClient
client = AuthServiceClient(sys.argv[1])
for name in sys.argv[3:]:
    client.create_user(name, sys.argv[2])
"""


@contextlib.contextmanager
def server(folder: Path, *, cache_s: int | None = None) -> Iterator[dict[str, str]]:
    """Everything up; the environment of its clients, without a user.

    ``cache_s`` takes the place of the template's auth_cache_ttl_seconds; 0: none, each request hashes its password.
    """
    with contextlib.ExitStack() as ends:
        database = Postgres(folder)
        database.start()
        ends.callback(database.stop)
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(database.port)}
        script = str(DOCKER / "postgres" / "init-databases.sh")
        quiet = subprocess.DEVNULL
        subprocess.run(["sh", script], env={**os.environ, **_SECRETS, **where}, check=True, stdout=quiet)
        urls = {
            name: f"postgresql+psycopg2://{name}:{_SECRETS[f'{key}_DB_PASSWORD']}@127.0.0.1:{database.port}/{name}"
            for name, key in (("mlflow", "MLFLOW"), ("optuna", "OPTUNA"), ("auth", "AUTH"))
        }
        s3, port = free_port(), free_port()
        inner = {
            "MLFLOW_BACKEND_STORE_URI": urls["mlflow"],
            "D2N_STUDY_STORAGE": urls["optuna"],
            "MLFLOW_AUTH_DATABASE_URI": urls["auth"],
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the test alone",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "S3_BUCKET": "mlflow",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_TRACKING", "D2N_STUDY"))}
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)]
        ends.enter_context(_process(moto, clean, folder / "s3.log"))
        wait_until(lambda: _listens(s3), "the S3 store", seconds=300)
        prepare = [sys.executable, str(DOCKER / "prepare_server.py")]
        subprocess.run(prepare, env={**clean, **inner}, check=True)
        command = _served(port, folder, cache_s)
        ends.enter_context(_process(command, {**clean, **inner}, folder / "mlflow.log"))
        wait_until(lambda: _listens(port), "the MLflow server", seconds=600)  # minutes on a busy machine
        yield {
            **clean,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
            "D2N_STUDY_STORAGE": urls["optuna"],
        }


def members(environment: dict[str, str], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Members whom the administrator makes; the environment of each."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MADE, environment["MLFLOW_TRACKING_URI"], PASSWORD, *names],
        env=member(environment, "admin"),
        check=True,
    )
    return {name: member(environment, name) for name in names}


def member(environment: dict[str, str], name: str) -> dict[str, str]:
    """The environment of one who is there."""
    return {**environment, "MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


def _served(port: int, folder: Path, cache_s: int | None) -> list[str]:
    """The server's command as compose has it, on a port of this machine."""
    auth = yaml.safe_load((DOCKER / "compose.auth.yaml").read_text(encoding="utf-8"))["services"]["mlflow"]
    given = {"0.0.0.0": "127.0.0.1", "5000": str(port), "${MLFLOW_SERVER_WORKERS:-4}": "2"}  # noqa: S104
    given["s3://${S3_BUCKET:-mlflow}/artifacts"] = "s3://mlflow/artifacts"
    hosts = next(part for part in auth["command"] if "localhost" in part)
    given[hosts] = "localhost:*,127.0.0.1:*"
    words = [given.get(part, part) for part in auth["command"]]
    assert words[:2] == ["mlflow", "server"]
    login = DOCKER / "with_login.py"
    if cache_s is not None:  # the same program beside another template
        text = (DOCKER / "basic_auth.ini").read_text(encoding="utf-8")
        assert "auth_cache_ttl_seconds = 300" in text
        changed = text.replace("auth_cache_ttl_seconds = 300", f"auth_cache_ttl_seconds = {cache_s}")
        (folder / "basic_auth.ini").write_text(changed, encoding="utf-8")
        login = folder / login.name
        login.write_text((DOCKER / login.name).read_text(encoding="utf-8"), encoding="utf-8")
    return [sys.executable, str(login), sys.executable, "-m", *words]


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as said:
        started = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
    try:
        yield
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(started.pid, sign)
                started.wait(60)
                break


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
