"""The databases of studies: Optuna's own, and ours for leases. Embedded SQLite by default, PostgreSQL for teams."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

import optuna
import sqlalchemy
from optuna.storages._rdb import models  # its tables; loaded by nothing else until a storage is opened
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from d2n import databases, secrets
from d2n.errors import StudyError
from d2n.files.refusals import is_full, space
from d2n.files.writing import make_file
from d2n.studies import tables

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_URL = "sqlite:///mlruns/optuna.db"
RETRY_S = 120.0  # how long a storage may be away: a restart of PostgreSQL takes seconds
OPEN_S = 30.0  # how long to wait for one that is not there at the start
_BUSY_S = 60.0  # how long a writer waits for SQLite's lock
# libpq's: how long it waits for a server that does not answer, and that went away without a word (else for hours)
_PATIENCE = {
    "connect_timeout": 10, "keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}  # fmt: skip


def storage_url(url: str | None = None) -> str:
    """The argument, else D2N_STUDY_STORAGE, else mlruns/optuna.db; with a driver that is installed.

    Raises StudyError for anything but SQLite and PostgreSQL.
    """
    text = url or os.environ.get("D2N_STUDY_STORAGE") or DEFAULT_URL
    parsed = databases.parse(text, "study storage", StudyError)
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise StudyError(
            f"study storage {secrets.scrub(text)}: {backend} is not supported, expected sqlite or postgresql"
        )
    return databases.text(databases.with_driver(parsed, StudyError))


def is_sqlite(url: str) -> bool:
    """Whether the storage is a file of this machine."""
    return databases.is_sqlite(url)


def is_absent(url: str) -> bool:
    """Whether the storage is a file that nobody made yet."""
    file = databases.sqlite_file(url)
    return file is not None and not file.exists()


def shown(url: str) -> str:
    """The URL without its password; a file as its path."""
    return databases.shown(url)


def shown_leases(url: str) -> str:
    """Where our own tables are, without the password."""
    return shown(_own_url(url).render_as_string(hide_password=False))


def open_optuna(url: str, wait_s: float = OPEN_S) -> optuna.storages.BaseStorage:
    """Optuna's storage behind ``storage_url``'s URL; its tables are made by one process at a time.

    StudyError when it cannot be reached within ``wait_s``. Connections lost later are retried with growing pauses
    for RETRY_S seconds.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tables.being_made(url, _engine_options(url)):
        if is_sqlite(url):
            make_file(str(make_url(url).database))
        try:
            storage = retried(
                lambda: _RetryingStorage(url, engine_kwargs=_engine_options(url)), shown(url), wait_s
            )()
        except RuntimeError as error:  # the schema is of another version of Optuna
            raise StudyError(f"study storage {shown(url)}: {_first_line(error)}") from error
    return optuna.storages.get_storage(storage)


@dataclass(frozen=True)
class SchemaProblem:
    """What is wrong with the tables of Optuna: in a line, what ``upgrade`` would do, what a person does."""

    text: str
    mending: str = ""
    advice: str = ""


def examine_schema(url: str) -> SchemaProblem | None:
    """What is wrong with the tables of Optuna, and what mends it; None when this version can use them."""
    where = f"study storage {shown(url)}"
    if is_sqlite(url) and not _is_file_or_absent(Path(str(make_url(url).database))):
        return SchemaProblem(f"{where} is no file", advice="move it away")
    engine = sqlalchemy.create_engine(url, **_engine_options(url))
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        current = _revision(engine) if "alembic_version" in tables else None
    except DBAPIError as error:
        advice = "bring a copy back, or move it away to start anew"
        return SchemaProblem(f"{where} cannot be read: {_first_line(error)}", advice=advice)
    finally:
        engine.dispose()
    return _judge(where, tables, current) if tables else None


def upgrade(url: str) -> None:
    """Make the missing tables of Optuna and bring the others to this version's schema; a copy of a file is kept.

    StudyError where Optuna cannot.
    """
    with tables.lock(url):
        kept = _kept_copy(Path(str(make_url(url).database))) if is_sqlite(url) else None
        try:
            _drop_revision(url)
            optuna.storages.RDBStorage(
                url, engine_kwargs=_engine_options(url), skip_compatibility_check=True
            ).upgrade()
        except Exception as error:  # alembic raises many kinds
            copy = f"; {kept} is as it was before" if kept else ""
            raise StudyError(
                f"study storage {shown(url)} cannot be upgraded: {_first_line(error)}{copy}"
            ) from error


def open_engine(url: str) -> Engine:
    """The engine of our own tables: a file beside Optuna's for SQLite, the schema ``d2n`` in PostgreSQL."""
    if is_sqlite(url):
        make_file(str(_own_url(url).database))
    engine = sqlalchemy.create_engine(_own_url(url), **_engine_options(url))
    return engine if is_sqlite(url) else engine.execution_options(schema_translate_map={None: "d2n"})


def retried(call: Callable[P, R], what: str, seconds: float | None = None) -> Callable[P, R]:
    """``call``, tried again while the database is away; StudyError with its reason after ``seconds``."""

    limit = RETRY_S if seconds is None else seconds

    def refused(error: BaseException, lasted: bool) -> StudyError:
        away = f" cannot be reached, tried for {limit:.0f} s" if lasted else ""
        return StudyError(f"study storage {what}{away}: {_first_line(error)}{_room(error, what)}")

    @functools.wraps(call)
    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        return databases.retry(
            lambda: call(*args, **kwargs),
            databases.Patience(limit, first_pause_s=0.1, longest_pause_s=5.0, jitter=0.3),
            errors=(DBAPIError, optuna.exceptions.StorageInternalError),
            is_passing=_is_passing,
            refused=refused,
            told=lambda _, pause: logger.info(
                "study storage %s is away, trying again in %.1f s", what, pause
            ),
        )

    return again


def _room(error: BaseException, shown_path: str) -> str:
    """Of a disk that is full or broken: how much is free, and what to do."""
    if not (is_full(error) or "disk i/o error" in _first_line(error).lower()):
        return ""
    return f" ({space(shown_path)}); free some space, then give the same command again: what was told is kept"


class _RetryingStorage(optuna.storages.RDBStorage):
    """Optuna's storage; every call is tried again while the database is away.

    A repeated ``create_new_trial`` may leave a trial that nobody holds: the next claim adopts it.
    """

    _head: ClassVar[str] = ""  # revision of this Optuna's tables; reading all its migrations takes 0.05 s

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs=engine_kwargs, skip_compatibility_check=True)
        cls = type(self)
        cls._head = cls._head or self.get_head_version()
        if self.get_current_version() != cls._head:
            optuna.storages.RDBStorage(url, engine_kwargs=engine_kwargs)  # says what is wrong
        for name in _RETRIED:
            setattr(self, name, retried(getattr(self, name), shown(url)))
        self.set_trial_state_values = self._set_state_once  # type: ignore[method-assign] # wrapped like the others

    def _set_state_once(self, trial_id: int, state: optuna.trial.TrialState, values: Any = None) -> bool:
        call = super().set_trial_state_values
        attempts = iter([False])

        def once() -> bool:
            first = next(attempts, True) is False
            try:
                return call(trial_id, state, values)
            except optuna.exceptions.UpdateFinishedTrialError:
                if first or self.get_trial(trial_id).state != state:
                    raise
                return True  # the lost call had arrived

        return retried(once, shown(self.url))()


_RETRIED = (
    "create_new_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs", "get_study_system_attrs",
    "get_all_studies", "_create_new_trial", "_set_trial_param", "get_trial_id_from_study_id_trial_number",
    "get_trial_number_from_id", "_get_best_trial_id", "set_trial_intermediate_value", "set_trial_user_attr",
    "set_trial_system_attr", "get_trial", "_get_trials", "get_trial_system_attrs", "get_trial_user_attrs",
)  # fmt: skip


def _judge(where: str, tables: set[str], current: str | None) -> SchemaProblem | None:
    wanted, own = (
        set(models.BaseModel.metadata.tables),
        "give Optuna one of its own: --study-storage sqlite:///FILE",
    )
    if "experiments" in tables:
        return SchemaProblem(f"{where} is MLflow's database: Optuna needs one of its own", advice=own)
    if not tables & (wanted - {"version_info"}):
        return SchemaProblem(f"{where} holds another program's tables", advice=own)
    keeping = " (a copy is kept)"
    if missing := sorted(wanted - tables):
        text = f"{where} is half-made: it lacks {', '.join(missing)}"
        return SchemaProblem(text, f"make the tables that it lacks{keeping}")
    if current is None:
        text = f"{where} lost the row with its schema's version (alembic_version), or has several; its tables are there"
        return SchemaProblem(text, f"write the version of the installed Optuna{keeping}")
    head, known = _revisions()
    if current == head:
        return None
    text = f"{where} has the schema {current}, expected {head}"
    if current in known:
        return SchemaProblem(text, f"upgrade Optuna's tables{keeping}")
    return SchemaProblem(text, advice="install the Optuna that made it: pip install -U optuna")


def _revision(engine: Engine) -> str | None:
    """None where the row is lost, or is not the only one."""
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).fetchall()
    return str(rows[0][0]) if len(rows) == 1 and rows[0][0] is not None else None


def _drop_revision(url: str) -> None:
    """Optuna writes the version of its tables anew where there is none."""
    engine = sqlalchemy.create_engine(url, **_engine_options(url))
    try:
        if "alembic_version" in sqlalchemy.inspect(engine).get_table_names() and _revision(engine) is None:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("DELETE FROM alembic_version"))
    finally:
        engine.dispose()


@functools.cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    """The newest schema of the installed Optuna, and all that it can upgrade."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    settings = Config()
    folder = Path(models.__file__).with_name("alembic")
    settings.set_main_option("script_location", str(folder).replace("%", "%%"))
    script = ScriptDirectory.from_config(settings)
    return script.get_current_head(), frozenset(one.revision for one in script.walk_revisions())


def _is_file_or_absent(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _kept_copy(path: Path) -> Path | None:
    """A copy with what still stands in the journal; None where there is nothing yet."""
    if not path.exists():
        return None
    number = 1
    while (kept := path.with_name(f"{path.stem}.before-upgrade-{number}{path.suffix}")).exists():
        number += 1
    source, target = sqlite3.connect(path, timeout=_BUSY_S), sqlite3.connect(kept)
    with contextlib.closing(source), contextlib.closing(target):
        source.backup(target)
    return kept


def _is_passing(error: BaseException) -> bool:
    """Whether waiting may help: a lost or refused connection, a locked SQLite file."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return False
    if cause.connection_invalidated or isinstance(cause, InterfaceError):
        return True
    text = str(cause.orig).lower()
    passing = (
        "locked",
        "connection",
        "connect to server",
        "starting up",
        "shutting down",
        "terminating",
        "closed",
    )
    return isinstance(cause, OperationalError) and any(word in text for word in passing)


def _engine_options(url: str) -> dict[str, Any]:
    if is_sqlite(url):
        return {"connect_args": {"timeout": _BUSY_S, "factory": _SqliteConnection}}
    # one connection stays open: with Optuna's own a worker has two, and a server has a hundred by default
    return {"pool_pre_ping": True, "pool_size": 1, "connect_args": dict(_PATIENCE)}


class _SqliteConnection(sqlite3.Connection):
    """Writers queue on one log; what is committed survives the process, and the last of it perhaps no power cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")

    def __del__(self, refused: type[Exception] = sqlite3.Error) -> None:
        """Closed with its engine's last reference; Python 3.13 warns of those that are left to it."""
        try:  # the error is bound above: at a process's end modules go before the last connection does
            self.close()
        except refused:
            return


def _own_url(url: str) -> URL:
    parsed = make_url(url)
    if not is_sqlite(url):
        return parsed
    path = Path(str(parsed.database))
    return parsed.set(database=str(path.with_name(f"{path.stem}-leases{path.suffix}")))


def _first_line(error: BaseException) -> str:
    cause = error
    while not isinstance(cause, DBAPIError) and cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause.orig) if isinstance(cause, DBAPIError) else str(cause)
    return " ".join(secrets.scrub(text).strip().split("\n")[0].split())
