"""The tables of a tracking database: made once by one process, recognised when half-made or of another MLflow."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from d2n.errors import TrackingError
from d2n.files.writing import make_file
from d2n.tracking.answers import describe
from d2n.tracking.connection import database_engine, display_uri, retried, sqlite_path, sqlite_uri

logger = logging.getLogger(__name__)

State = Literal["absent", "current", "older", "newer", "unstamped", "incomplete", "half-made", "foreign"]
_LOCK_WAIT_S = 120.0
_POSTGRES_LOCK = 0x64326E  # "d2n": advisory lock while the tables are made
_CORE_TABLES = {"experiments", "runs", "metrics", "params", "tags"}
_CONTENT = {
    "runs": 0,
    "registered_models": 0,
    "logged_models": 0,
    "experiments": 1,
}  # rows that a new store has


def ensure(uri: str, artifact_root: str, retry_s: float = 15.0) -> None:
    """Make the tables if there are none; TrackingError if they are not those of the installed MLflow.

    Safe with many processes starting at once: one makes them, the others wait.
    """
    path = sqlite_path(uri)
    if path is not None:
        _ensure_sqlite(path, artifact_root)
    else:
        retried(lambda: _ensure_server(uri, artifact_root), uri, retry_s)


def state(uri: str) -> State:
    """What is in the database.

    Nothing (absent), this MLflow's tables (current), an older or newer one's, another program's (foreign). Among
    those that broke: half-made without any run in it, unstamped (runs are there, the row with the tables' version is
    not) and incomplete (runs are there, tables are not).
    """
    path = sqlite_path(uri)
    if path is not None and _is_empty(path):
        return "absent"
    engine = database_engine(uri)
    try:
        return _judge(engine)
    except SQLAlchemyError as error:
        raise TrackingError(describe(error, uri)) from error
    finally:
        engine.dispose()


def missing_tables(uri: str) -> list[str]:
    """Tables, and columns as ``table.column``, of the installed MLflow that the database does not have."""
    engine = database_engine(uri)
    try:
        return _missing(engine)
    except SQLAlchemyError as error:
        raise TrackingError(describe(error, uri)) from error
    finally:
        engine.dispose()


_IN_A_FILE: dict[State, str] = {
    "older": "was made by an older MLflow or half upgraded: `d2n doctor --mend` keeps a copy and upgrades",
    "newer": "was touched by a newer MLflow than the one installed: install that one (pip install -U mlflow)",
    "half-made": "is half-made, its creation broke off: `d2n doctor --mend` moves it aside and makes a new one",
    "unstamped": "holds runs, but lost the row with its tables' version: `d2n doctor --mend` looks and writes it",
    "incomplete": "holds runs, but lacks some of its tables: run `d2n doctor`",
    "foreign": "holds another program's tables (a study storage?): give MLflow a database of its own",
}
# A server's database is upgraded by MLflow's own command, by one process, after a backup: others may work in it.
_ON_A_SERVER: dict[State, str] = {
    "older": "was made by an older MLflow or half upgraded: back it up, then `mlflow db upgrade URL` once",
    "newer": _IN_A_FILE["newer"],
    "half-made": "is half-made, its creation broke off: drop and create the empty database again, then go on",
    "unstamped": "holds runs, but lost the row with its tables' version: bring back a backup (docs/deploy.md)",
    "incomplete": "holds runs, but lacks some of its tables: bring back a backup (docs/deploy.md)",
    "foreign": _IN_A_FILE["foreign"],
}


def require_current(uri: str) -> None:
    """TrackingError that names the next command, unless the tables are those of the installed MLflow."""
    found = state(uri)
    if found in ("current", "absent"):
        return
    reason = _IN_A_FILE[found] if sqlite_path(uri) is not None else _ON_A_SERVER[found]
    raise TrackingError(f"tracking store {display_uri(uri)} {reason}")


def upgrade(path: Path) -> Path:
    """Bring a SQLite store to the installed MLflow's tables; the former file is kept and its path returned.

    The work is done on a copy that replaces the store at the end: a failure leaves the store as it was.
    """
    with _file_lock(path):
        kept = _aside(path, "before-upgrade")
        copy = path.with_name(f".{path.name}.{os.getpid()}.upgrade")
        _copy(path, copy)
        engine = database_engine(sqlite_uri(copy))
        try:
            _migrations()._upgrade_db(engine)
        except Exception as error:  # alembic raises many kinds
            copy.unlink(missing_ok=True)
            raise TrackingError(f"{display_uri(sqlite_uri(path))} could not be upgraded: {error}") from error
        finally:
            engine.dispose()
        _copy(path, kept)
        copy.replace(path)
    return kept


def stamp(path: Path) -> Path:
    """Write the installed MLflow's version into a store whose tables are its own; the former file is kept.

    TrackingError where tables or columns are missing: they are then of another MLflow.
    """
    uri = sqlite_uri(path)
    with _file_lock(path):
        if lacking := missing_tables(uri):
            raise TrackingError(
                f"{display_uri(uri)} lacks {_some(lacking)}: its tables are not of this MLflow"
            )
        kept = _copy(path, _aside(path, "before-stamp"))
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as database, database:
            database.execute("DROP TABLE IF EXISTS alembic_version")
            database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            database.execute("INSERT INTO alembic_version VALUES (?)", (_head_revision(),))
    return kept


def complete(path: Path) -> Path:
    """Make the tables that a store of the installed MLflow has lost, empty; the former file is kept."""
    with _file_lock(path):
        kept = _copy(path, _aside(path, "before-completion"))
        engine = database_engine(sqlite_uri(path))
        try:
            _tables().create_all(engine)
        except SQLAlchemyError as error:
            raise TrackingError(describe(error, sqlite_uri(path))) from error
        finally:
            engine.dispose()
    return kept


def set_aside(path: Path) -> Path:
    """Rename a SQLite store that cannot be used and holds no run; the next start makes a new one."""
    with _file_lock(path):
        if state(sqlite_uri(path)) in ("unstamped", "incomplete"):
            raise TrackingError(f"{display_uri(sqlite_uri(path))} holds runs: it stays where it is")
        kept = _aside(path, "set-aside")
        path.rename(kept)
    return kept


def _ensure_sqlite(path: Path, artifact_root: str) -> None:
    try:
        if _sqlite_ready(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _file_lock(path):
            if not _sqlite_ready(path):
                _make_sqlite(path, artifact_root)
    except OSError as error:
        raise TrackingError(_cannot_make(path, error)) from error


def _make_sqlite(path: Path, artifact_root: str) -> None:
    """All migrations run in a file beside; the finished one takes the name at once."""
    require_current(sqlite_uri(path))
    if state(sqlite_uri(path)) == "current":
        return
    making = path.with_name(f".{path.name}.{os.getpid()}.making")
    making.unlink(missing_ok=True)
    make_file(making)
    logger.info("making the tracking store %s (a few seconds, once)", display_uri(sqlite_uri(path)))
    try:
        with _quiet_mlflow(), _forgotten_engine(sqlite_uri(making)):
            _store_class()(sqlite_uri(making), artifact_root)
        making.replace(path)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(describe(error, sqlite_uri(path))) from error
    finally:
        making.unlink(missing_ok=True)


@contextmanager
def _forgotten_engine(uri: str) -> Iterator[None]:
    """MLflow keeps engines by URI, with connections to a file that goes: a later store of that name would get them."""
    try:
        yield
    finally:
        engine = _store_class()._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()


def _ensure_server(uri: str, artifact_root: str) -> None:
    """PostgreSQL: an advisory lock instead of a file, so that workers of several hosts wait for each other."""
    engine = database_engine(uri)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _POSTGRES_LOCK})
            require_current(uri)
            if state(uri) == "absent":
                with _quiet_mlflow():
                    _store_class()(uri, artifact_root)
    finally:
        engine.dispose()  # closing the connection releases the lock


def _sqlite_ready(path: Path) -> bool:
    """Quick look without MLflow: a finished file has a revision and its default experiment."""
    if not path.exists():
        return False
    is_writable = os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    mode = (
        "rw" if is_writable else "ro"
    )  # what a killed writer left in the journal is rolled back by a reader
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=20)
        ) as database:
            revisions = database.execute("SELECT version_num FROM alembic_version").fetchall()
            return revisions == [(_head_revision(),)]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise TrackingError(describe(error, sqlite_uri(path))) from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(describe(error, sqlite_uri(path))) from error


def _is_empty(path: Path) -> bool:
    """Whether nothing is there yet; TrackingError for what is no file, or cannot be looked at."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    except OSError as error:
        raise TrackingError(describe(error, sqlite_uri(path))) from error
    if not stat.S_ISREG(mode):
        raise TrackingError(f"tracking store {display_uri(sqlite_uri(path))} is no file: move it away")
    return path.stat().st_size == 0


def _judge(engine: sqlalchemy.Engine) -> State:
    tables = set(sqlalchemy.inspect(engine).get_table_names())
    if not tables - {"alembic_version"}:
        return "absent"
    if not tables & _CORE_TABLES:
        return "foreign"
    revision = _revision(engine) if "alembic_version" in tables else None
    head = _head_revision()
    if revision not in (None, head):
        return "older" if revision in _known_revisions() else "newer"
    if revision == head and tables >= set(_tables().tables):
        return "current"
    if not _has_content(engine, tables):
        return "half-made"
    return "unstamped" if revision is None else "incomplete"


def _has_content(engine: sqlalchemy.Engine, tables: set[str]) -> bool:
    """Whether anybody wrote into the store after it was made."""
    with engine.connect() as connection:
        for table, of_a_new_one in _CONTENT.items():
            counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(sqlalchemy.table(table))
            if table in tables and connection.execute(counted).scalar_one() > of_a_new_one:
                return True
    return False


def _missing(engine: sqlalchemy.Engine) -> list[str]:
    inspector = sqlalchemy.inspect(engine)
    there, found = set(inspector.get_table_names()), []
    for name, table in _tables().tables.items():
        if name not in there:
            found.append(name)
            continue
        columns = {str(column["name"]) for column in inspector.get_columns(name)}
        found += [f"{name}.{c.name}" for c in table.columns if c.name not in columns and c.computed is None]
    return sorted(found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _revision(engine: sqlalchemy.Engine) -> str | None:
    """None where the row is lost, or is not the only one."""
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).fetchall()
    return str(rows[0][0]) if len(rows) == 1 and rows[0][0] is not None else None


@cache
def _head_revision() -> str:
    return str(_migrations()._get_latest_schema_revision())


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_migrations()._get_alembic_config(db_url=""))
    return {revision.revision for revision in script.walk_revisions()}


def _tables() -> Any:
    """The tables of the installed MLflow, as SQLAlchemy has them."""
    import mlflow.store.model_registry.sqlalchemy_store  # they are known once these are imported
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    from mlflow.store.db.base_sql_model import Base

    return Base.metadata


def _migrations() -> Any:
    """MLflow's migrations: not annotated, and public only as the command `mlflow db upgrade`."""
    import mlflow.store.db.utils

    return mlflow.store.db.utils


def _store_class() -> Any:
    """Its construction makes the tables and the default experiment."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=_LOCK_WAIT_S):
            yield
    except Timeout as error:
        raise TrackingError(
            f"tracking store {display_uri(sqlite_uri(path))} is still being made by another process after "
            f"{_LOCK_WAIT_S:.0f} s: stop it, or delete {path.name}.lock if there is none"
        ) from error


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """A hundred migrations are no news."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _copy(path: Path, to: Path) -> Path:
    """A copy with what still stands in the journal."""
    source, target = sqlite3.connect(path, timeout=20), sqlite3.connect(to)
    with contextlib.closing(source), contextlib.closing(target):
        source.backup(target)
    shutil.copymode(path, to)
    return to


def _aside(path: Path, why: str) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.stem}.{why}-{number}{path.suffix}")).exists():
        number += 1
    return kept


def _cannot_make(path: Path, error: OSError) -> str:
    return (
        f"tracking store {display_uri(sqlite_uri(path))} cannot be made: {error.strerror or error}; "
        "make the folder writable or choose another --tracking-uri"
    )
