"""Databases and stores by URL: made, read, shown and completed in one place, so that any folder and password fit.

And waited for, where they are away.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from d2n import secrets
from d2n.errors import D2NError
from d2n.signals import deferred

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

T = TypeVar("T")

_SQLITE = "sqlite+pysqlite"  # MLflow makes a folder named after what follows sqlite:///, %-escapes and all
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")  # begins each part of a URL's query


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, absolute; ``?``, ``%``, ``#`` and accents in its path are written as ``%…``."""
    from sqlalchemy.engine import URL, make_url

    file = path.absolute().as_posix()
    try:
        url = text(URL.create("sqlite", database=file))
        is_kept = make_url(url).database == file
    except UnicodeEncodeError as error:
        raise D2NError(
            f"{file!r}: a name that is no UTF-8; expected another folder for a database"
        ) from error
    if not is_kept:  # SQLAlchemy before 2.1
        raise D2NError(f"{file}: SQLAlchemy cannot hold this path; pip install 'sqlalchemy>=2.1'")
    return url


def is_sqlite(url: str) -> bool:
    """Whether the database is a file of this machine."""
    return url.partition("://")[0] in ("sqlite", _SQLITE)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL that ``parse`` took; None for any other database or server."""
    if not is_sqlite(url):
        return None
    from sqlalchemy.engine import make_url

    return Path(str(make_url(url).database)).absolute()


def parse(url: str, what: str, kind: type[D2NError] = D2NError) -> URL:
    """A database's URL; a SQLite file's path made absolute. ``kind`` of error, in one line, for what is none.

    ``what`` begins the message, such as ``tracking URI``. The password is remembered, so that no message shows it.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    secrets.remember(url)
    shown = f"{what} {secrets.scrub(url)!r}"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number; from None: the error holds the password
        raise kind(
            f"{shown} is no URL, expected such as sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if "@" in (parsed.host or ""):
        raise kind(f"{shown}: its password holds '@', expected it written as %40")
    if parsed.get_backend_name() != "sqlite":
        return parsed
    options = url.partition("?")[2].split("&") if "?" in url else []
    if unknown := [option for option in options if not _OPTION.match(option)]:
        raise kind(f"{shown}: {unknown[0]!r} is no option; a ? in a path is written as %3F")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise kind(
            f"{shown} names no file, and what is in memory is lost with its process: expected sqlite:///FILE"
        )
    return parsed.set(database=Path(parsed.database).absolute().as_posix())


def text(parsed: URL) -> str:
    """The URL as text, password and all: for drivers, never for people."""
    rendered = parsed.render_as_string(hide_password=False)
    if parsed.drivername == "sqlite" and "%" in rendered:
        return f"{_SQLITE}{rendered.removeprefix('sqlite')}"
    return rendered


def with_driver(parsed: URL, kind: type[D2NError] = D2NError) -> URL:
    """``postgresql://`` with a driver that is installed: the default one differs between SQLAlchemy 2.0 and 2.1."""
    if parsed.drivername != "postgresql":
        return parsed
    driver = next((name for name in ("psycopg2", "psycopg") if find_spec(name)), None)
    if driver is None:
        raise kind(f"{shown(text(parsed))} needs a PostgreSQL driver: pip install 'd2n[postgres]'")
    return parsed.set(drivername=f"postgresql+{driver}")


def check_server(uri: str, what: str, kind: type[D2NError] = D2NError) -> None:
    """``kind`` of error for an http(s) URI whose host, port or login cannot be told apart."""
    secrets.remember(uri)
    shown = f"{what} {secrets.scrub(uri)!r}"
    try:
        parts = urlsplit(uri)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # from None: it would show a part of the password as the port
        has_host = False
    login = uri.partition("://")[2].rpartition("@")[0]
    if not has_host or (login and parts.username is None) or re.search(r"[@/?#\s]", login):
        raise kind(
            f"{shown} is no address of a server, expected such as http://HOST:5000; "
            "in a password @ : / ? # are written as %40 %3A %2F %3F %23"
        )


def shown(url: str) -> str:
    """The URL for people: no password, a SQLite file as its path, relative where that is shorter."""
    path = sqlite_file(url)
    if path is None:
        return secrets.scrub_urls(url)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def without_login(uri: str) -> str:
    """A server's address alone, as a browser takes it: without user, password and query."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")


def below(uri: str, name: str) -> str:
    """A place's URI with one more folder; what follows its ``?`` stays at the end."""
    head, mark, query = uri.partition("?")
    return f"{head.rstrip('/')}/{quote(name)}{mark}{query}"


@dataclass(frozen=True)
class Patience:
    """How long a database that is away is waited for; the pauses between the attempts double up to the longest."""

    total_s: float
    first_pause_s: float
    longest_pause_s: float
    jitter: float = (
        0.0  # the share of a pause by which it is drawn shorter or longer, so that many do not ask at once
    )


def retry(
    action: Callable[[], T],
    patience: Patience,
    *,
    errors: tuple[type[Exception], ...],
    is_passing: Callable[[BaseException], bool],
    refused: Callable[[BaseException, bool], D2NError],
    told: Callable[[BaseException, float], None],
    is_undisturbed: bool = True,
) -> T:
    """action(), again while it fails by one of ``errors`` that waiting may help and patience lasts.

    A signal waits for the end of an attempt, unless ``is_undisturbed`` is False: a transaction that it broke off would
    keep its locks while the error travels, and what is then closed in the same database would wait for them.

    ``refused`` words what is raised: of a failure that does not pass (False), or of one that lasted (True).
    ``told`` says of each pause, in seconds, what it is for.
    """
    pause, deadline = patience.first_pause_s, time.monotonic() + patience.total_s
    while True:
        try:
            with deferred() if is_undisturbed else nullcontext():
                return action()
        except errors as error:
            secrets.scrub_error(error)  # it is shown with the trace, or by whoever catches it
            passing = is_passing(error)
            if not passing or time.monotonic() + pause > deadline:
                raise refused(error, passing) from error
            told(error, pause)
        time.sleep(pause * random.uniform(1 - patience.jitter, 1 + patience.jitter))
        pause = min(2 * pause, patience.longest_pause_s)
