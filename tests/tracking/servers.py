"""Real servers for the tests of outages: MLflow over HTTP, PostgreSQL. Both on 127.0.0.1 and in a test's folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import ClassVar

import psutil

from d2n import databases


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """A tracking server on a database, with proxied artifacts; it can be stopped and started again."""

    def __init__(self, folder: Path, database_uri: str, destination: str | None = None) -> None:
        self._destination = destination or str(folder / "served")
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder, self._database = folder, database_uri
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the server's first process, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        storage = [
            "--backend-store-uri",
            databases.text(databases.with_driver(databases.parse(self._database, "database"))),
            "--artifacts-destination",
            self._destination,
        ]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self._folder / "server.log").open("ab") as log:
            process = self._process = subprocess.Popen(
                [*command, *storage, "--workers", "1"],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        wait_until(lambda: process.poll() is not None or _answers(f"{self.uri}/health"), "the MLflow server")
        assert process.poll() is None, (self._folder / "server.log").read_text()[-2000:]

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """kill -9, as the machine's would."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """To the server and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, number)


class S3:
    """An object store with one bucket, by moto; reached with the keys of ``ENVIRONMENT``."""

    ENVIRONMENT: ClassVar = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }

    def __init__(self, folder: Path, bucket: str) -> None:
        self.port, self._folder, self._bucket = free_port(), folder, bucket
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_here() -> bool:
        return all(importlib.util.find_spec(name) for name in ("moto", "boto3", "flask_cors"))

    def start(self) -> None:
        import boto3

        with (self._folder / "s3.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-p", str(self.port)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: _answers(f"{self.address}/moto-api/"), "the object store")
        client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id="key",
            aws_secret_access_key="key",  # noqa: S106 - moto takes any
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=self._bucket)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)
            self._process = None


class Postgres:
    """A PostgreSQL cluster of the test's own; as root it runs as the user `postgres`."""

    def __init__(self, folder: Path, max_connections: int = 100) -> None:
        self._max_connections = max_connections
        self._folder = folder / "cluster"
        self._folder.mkdir(parents=True)
        self._user = "postgres" if os.geteuid() == 0 else None
        self.port = free_port()
        self.uri = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._folder), "-U", "postgres", "-A", "trust", "--no-sync")

    @staticmethod
    def is_here() -> bool:
        return shutil.which("initdb") is not None and shutil.which("pg_ctl") is not None

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        options += f" -c max_connections={self._max_connections}"
        log = str(self._folder / "server.log")
        self._run("pg_ctl", "-D", str(self._folder), "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder), "-m", "fast", "-w", "stop")

    def kill(self) -> None:
        """kill -9 of the first process; the others see it and end."""
        first = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        everyone = [first, *first.children(recursive=True)]
        first.kill()
        psutil.wait_procs(everyone, timeout=60)  # none starts again while one of them holds its memory

    def _run(self, *command: str) -> None:
        if self._user:
            for (
                parent
            ) in self._folder.parents:  # each time: another pytest that starts closes its folders to others
                if parent.stat().st_uid == 0 and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)  # so that the user gets there
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self._folder, timeout=100
        )


def wait_until(condition: object, what: str, seconds: float = 300) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come up")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - the test's own server
            return bool(answer.status == 200)
    except OSError:
        return False
