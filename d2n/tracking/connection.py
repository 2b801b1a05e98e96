"""The connection to a tracking store: which one, its client, retries, and one-line errors."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import unquote

import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import ArgumentError

from d2n import databases, secrets
from d2n.errors import TrackingError
from d2n.files.refusals import half_copied
from d2n.tracking.answers import (
    ERRORS,
    RUBBISH,
    away,
    brief,
    describe,
    first_line,
    is_of_an_answer,
    is_passing,
)

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_PROCESS_WIDE = threading.RLock()
_NOISY = (
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "mlflow.exceptions",
)  # they warn of what d2n says itself


class Connection:
    """A tracking store's URI and client; `call` retries what passes and words what does not."""

    def __init__(self, uri: str, artifact_root: str | None, retry_s: float = 300.0) -> None:
        """`artifact_root` is None where the server decides; `retry_s` bounds the retries of one call."""
        self.uri = uri
        self.artifact_root = artifact_root
        self.retry_s = retry_s
        for noisy in _NOISY:
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self.client = retried(lambda: MlflowClient(tracking_uri=uri, registry_uri=uri), uri, retry_s)

    @property
    def display_uri(self) -> str:
        """The URI without a password."""
        return display_uri(self.uri)

    @property
    def work_root(self) -> Path:
        """Where checkpoints and features lie: beside the default store's database, else under mlruns/ here."""
        return work_root(self.uri)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """function(…), again with growing pauses while the store is locked, restarting or unreachable.

        For at most `retry_s` seconds. Raises TrackingError in one line for what the store refuses; of an artifact that
        found no room, nothing stays.
        """
        try:
            return retried(
                lambda: function(*args, **kwargs), self.uri, self.retry_s, _folder(self.artifact_root)
            )
        except TrackingError as error:
            for part in half_copied(error):
                with contextlib.suppress(OSError):
                    part.unlink()
            raise


def retried(action: Callable[[], T], uri: str, retry_s: float, artifacts: Path | None = None) -> T:
    """action(), again while its failure is a passing one and `retry_s` seconds are not over; said once.

    `artifacts` is the folder of artifacts, which may lie on another disk than the database.
    """
    said: list[float] = []

    def tell(error: BaseException, pause: float) -> None:
        if len(said) == 1:  # one stale connection is no news
            words = "tracking store %s: %s; asked again for up to %.0f s"
            logger.warning(words, display_uri(uri), brief(error), retry_s)
        said.append(pause)

    return databases.retry(
        lambda: answered(action, uri),
        databases.Patience(retry_s, _FIRST_PAUSE_S, _LONGEST_PAUSE_S),
        errors=ERRORS,
        is_passing=is_passing,
        refused=lambda error, _: TrackingError(describe(error, uri, artifacts)),
        told=tell,
        # a server's transactions are its own, and an answer may take long
        is_undisturbed=not uri.startswith("http"),
    )


def answered(action: Callable[[], T], uri: str) -> T:
    """action(); what a server's answer breaks in MLflow, which reads it unchecked, becomes an MlflowException."""
    try:
        return action()
    except ERRORS:
        raise
    except Exception as error:
        if not is_of_an_answer(error, uri):
            raise
        raise MlflowException(f"it {RUBBISH}: {type(error).__name__}: {first_line(error)}") from error


def within(seconds: float, action: Callable[[], T], uri: str) -> T:
    """action() in a thread of its own, for a server that takes a request and never answers: TrackingError then."""
    done: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(action())
        except Exception as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run, name="ask", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if done:
        return done[0]
    raise TrackingError(away(uri, f"no answer within {seconds:.0f} s"))


def _folder(artifact_root: str | None) -> Path | None:
    """The folder of artifacts, where it is one of this machine."""
    path = unquote((artifact_root or "").removeprefix("file://"))
    return Path(path) if path.startswith("/") else None


@contextmanager
def process_wide(uri: str) -> Iterator[None]:
    """Make `uri` MLflow's process-wide store for a moment.

    The database registry looks up a version's logged model there, whatever its client was told.
    """
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    with _PROCESS_WIDE:
        former = os.environ.get("MLFLOW_TRACKING_URI")
        try:
            with _use_tracking_uri(uri):
                yield
        finally:
            if former is not None:
                os.environ["MLFLOW_TRACKING_URI"] = former


def resolve_uri(tracking_uri: str | None, folder: Path | None = None) -> str:
    """The argument, else MLFLOW_TRACKING_URI, else SQLite in ./mlruns; SQLite paths become absolute."""
    given = (tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "").strip()
    if not given:
        return sqlite_uri((folder or Path.cwd()) / "mlruns" / "mlflow.db")
    secrets.remember(given)
    scheme = given.partition("://")[0] if "://" in given else ""
    if scheme in ("http", "https"):
        databases.check_server(given, "tracking URI", TrackingError)
        return given.rstrip("/")
    if scheme.partition("+")[0] not in DATABASES:
        raise TrackingError(
            f"tracking URI {secrets.scrub(given)!r}: expected sqlite:///FILE, postgresql://…, http://… or https://…; "
            "leave it out for the local mlruns/ (MLflow's old file store is no longer written)"
        )
    parsed = databases.parse(given, "tracking URI", TrackingError)
    return databases.text(databases.with_driver(parsed, TrackingError))


def work_root(uri: str) -> Path:
    """Where checkpoints and features of a store lie: see Connection.work_root."""
    database = sqlite_path(uri)
    return (database.parent if database is not None else Path("mlruns")) / "work"


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file, absolute."""
    return databases.sqlite_url(path)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for any other store."""
    if not databases.is_sqlite(uri):
        return None
    databases.parse(uri, "tracking URI", TrackingError)
    return databases.sqlite_file(uri)


def display_uri(uri: str) -> str:
    """The URI for people: no password, a SQLite file as a path relative to here where that is shorter."""
    return databases.shown(uri)


def database_engine(uri: str) -> sqlalchemy.Engine:
    """A short-lived engine that keeps no connection open."""
    try:
        return sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"tracking URI {display_uri(uri)}: its driver is not here ({first_line(error)}), expected sqlite:///FILE, "
            "postgresql://…, http://… or https://…"
        ) from error
    except ArgumentError as error:
        raise TrackingError(f"tracking URI {display_uri(uri)}: {first_line(error)}") from error
