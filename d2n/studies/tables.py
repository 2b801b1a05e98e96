"""Making the tables of a study storage: one process at a time, and nobody waits where they are whole."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock, Timeout
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from d2n import databases
from d2n.errors import StudyError
from d2n.files.refusals import why

WAIT_S = 300.0
"""How long to wait for another process of this machine that makes tables."""


@contextlib.contextmanager
def lock(url: str) -> Iterator[None]:
    """One process of this machine makes the tables of a storage at a time; StudyError where it takes too long."""
    where = f"study storage {databases.shown(url)}"
    if databases.is_sqlite(url):
        folder, key = Path(str(make_url(url).database)).parent, "studies"
    else:
        folder = Path(tempfile.gettempdir())
        # in a container an id may have no name
        user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
        key = f"{user}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{where}: {folder} cannot be made ({why(error, folder)})") from error
    if not os.access(folder, os.W_OK):
        raise StudyError(f"{where}: {folder} is read-only; choose another place with --study-storage")
    held = FileLock(folder / f".d2n-schema-{key}.lock")
    try:
        held.acquire(timeout=WAIT_S)
    except Timeout as error:
        raise StudyError(
            f"{where}: a process of this machine has been making its tables for {WAIT_S:.0f} s (it holds "
            f"{held.lock_file}); look for one that is stopped, end it, and try again"
        ) from error
    try:
        yield
    finally:
        held.release()


def being_made(url: str, options: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """``lock`` where Optuna's tables may have to be made; nothing where a PostgreSQL has them."""
    is_whole = not databases.is_sqlite(url) and _is_made(url, options)
    return contextlib.nullcontext() if is_whole else lock(url)


def _is_made(url: str, options: Mapping[str, Any]) -> bool:
    """Whether Optuna's tables are whole in a PostgreSQL: it writes their revision last."""
    engine = sqlalchemy.create_engine(url, **options)
    try:
        with engine.connect() as connection:
            known = sqlalchemy.inspect(connection).has_table("alembic_version")
            query = sqlalchemy.text("SELECT count(*) FROM alembic_version")
            return known and connection.execute(query).scalar_one() == 1
    except DBAPIError:
        return False  # whoever opens it says why
    finally:
        engine.dispose()
