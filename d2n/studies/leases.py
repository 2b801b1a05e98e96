"""Who works on which trial: a table of our own, one row a trial, the same code on SQLite and PostgreSQL.

A claim is made inside ``exclusive``: the update of the study's row takes SQLite's write lock or PostgreSQL's row lock,
both of which end with the process that holds them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from d2n import __version__
from d2n.errors import StudyError
from d2n.files import processes
from d2n.studies import clock, tables
from d2n.studies.storage import OPEN_S, is_sqlite, open_engine, retried, shown

SCHEMA_VERSION = 2
BETWEEN_TRIALS_S = 60.0
"""For so long after a trial its study still counts as one that is worked on: the next claim may be under way."""
_RECENT = 1000  # leases that are looked at: more than there are workers
STUCK_S = 60.0  # then PostgreSQL ends the transaction of a claim whose process does nothing
_metadata = sa.MetaData()
_versions = sa.Table("d2n_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))
_studies = sa.Table(
    "d2n_studies",
    _metadata,
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("claims", sa.Integer, nullable=False, default=0),  # touched by every claim: the lock
    sa.Column("stop", sa.String(16), nullable=False, default=""),  # "", "after" the running trials, "now"
    sa.Column("summary_at", sa.Integer, nullable=False, default=0),  # trials ended when the figures were made
    sa.Column(
        "version", sa.String(64), nullable=False, default="", server_default=""
    ),  # of d2n, that claimed last
)
_leases = sa.Table(
    "d2n_leases",
    _metadata,
    sa.Column("study", sa.String(256), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True),  # number in the study
    sa.Column("state", sa.String(16), nullable=False),  # held, released, done
    sa.Column("token", sa.String(32), nullable=False),  # changes with every holder
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(256), nullable=False),
    sa.Column("machine", sa.String(64), nullable=False),
    sa.Column("processes", sa.String(128), nullable=False),  # the namespace that pid belongs to
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_started", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),  # last sign, seconds since 1970 by the database's clock
    sa.Column("lease_s", sa.Float, nullable=False),
    sa.Column("busy_s", sa.Float, nullable=False, default=0.0),  # time worked on the trial, gaps left out
)


@dataclass(frozen=True)
class Lease:
    """One holder of one trial."""

    study: str
    trial: int
    state: str
    token: str
    attempt: int
    worker: str
    machine: str
    processes: str
    pid: int
    pid_started: float
    seen: float
    lease_s: float
    busy_s: float


@dataclass(frozen=True)
class Me:
    """This process, as others can find out whether it lives."""

    worker: str
    machine: str
    processes: str
    pid: int
    pid_started: float
    version: str = __version__  # of d2n


def this_process(name: str = "") -> Me:
    """Identity of the calling process: machine by boot id, process by namespace, pid and start time."""
    pid = os.getpid()
    host = socket.gethostname()
    machine = processes.boot()
    namespace = _link("/proc/self/ns/pid")
    return Me(f"{host}/{name or pid}", machine, f"{machine}/{namespace}", pid, processes.started(pid))


class LeaseTable:
    """The leases of every study in one storage."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = open_engine(url)
        retried(self._create, shown(url), OPEN_S)()

    def register(self, study: str) -> None:
        """A row for the study, if it has none."""

        def insert() -> None:
            with self.engine.begin() as connection:
                if (
                    connection.execute(sa.select(_studies.c.name).where(_studies.c.name == study)).first()
                    is None
                ):
                    connection.execute(sa.insert(_studies).values(name=study))

        retried(insert, shown(self.url))()

    @contextmanager
    def exclusive(self, study: str) -> Iterator[Connection]:
        """A transaction that no other claim of this study shares."""
        with self.engine.begin() as connection:
            if not is_sqlite(self.url):  # a process that was stopped in here would hold up every claim
                limit = f"set local idle_in_transaction_session_timeout = {int(STUCK_S * 1000)}"
                connection.execute(sa.text(limit))
            row = sa.update(_studies).where(_studies.c.name == study)
            if connection.execute(row.values(claims=_studies.c.claims + 1)).rowcount != 1:
                raise StudyError(
                    f"study {study} has no row in {shown(self.url)}; `d2n doctor --mend` makes it"
                )
            yield connection

    def version(self, study: str, connection: Connection) -> str:
        """The d2n that claimed last; '' before the first claim."""
        query = sa.select(_studies.c.version).where(_studies.c.name == study)
        return str(connection.execute(query).scalar_one_or_none() or "")

    def set_version(self, study: str, version: str, connection: Connection) -> None:
        """The d2n that claims now. Inside ``exclusive``."""
        connection.execute(sa.update(_studies).where(_studies.c.name == study).values(version=version))

    def all(self, study: str, connection: Connection | None = None) -> list[Lease]:
        """Every lease of the study, by trial."""
        query = sa.select(_leases).where(_leases.c.study == study).order_by(_leases.c.trial)
        return [Lease(**row) for row in self._rows(query, connection)]

    def open(self, study: str, connection: Connection | None = None) -> list[Lease]:
        """Leases of trials that have not ended."""
        query = (
            sa.select(_leases)
            .where(_leases.c.study == study, _leases.c.state != "done")
            .order_by(_leases.c.trial)
        )
        return [Lease(**row) for row in self._rows(query, connection)]

    def judged(self, study: str, me: Me) -> list[tuple[Lease, bool, float]]:
        """Leases of trials that have not ended, whether their holders live, and the seconds since their last sign."""

        def judge() -> list[tuple[Lease, bool, float]]:
            with self.engine.connect() as connection:
                now = self.now(connection)
                held = self.open(study, connection)
            return [(lease, not self.is_dead(lease, now, me), now - lease.seen) for lease in held]

        return retried(judge, shown(self.url))()

    def count(self, study: str, connection: Connection | None = None) -> tuple[int, float]:
        """How many trials were ever claimed, and the hours worked on them."""
        query = sa.select(
            sa.func.count().label("claims"),
            sa.func.coalesce(sa.func.sum(_leases.c.busy_s), 0.0).label("busy"),
        ).where(_leases.c.study == study)
        row = self._rows(query, connection)[0]
        return int(row["claims"]), float(row["busy"]) / 3600

    def take(self, connection: Connection, study: str, trial: int, me: Me, lease_s: float) -> Lease:
        """Hold the trial: its first attempt, or one more than the last holder's. Inside ``exclusive``."""
        where = (_leases.c.study == study) & (_leases.c.trial == trial)
        before = connection.execute(sa.select(_leases).where(where)).mappings().first()
        attempt = 1
        if before is not None:
            attempt = int(before["attempt"]) + (1 if before["state"] == "held" else 0)
        values: dict[str, Any] = {
            "state": "held",
            "token": uuid.uuid4().hex,
            "attempt": attempt,
            "worker": me.worker,
            "machine": me.machine,
            "processes": me.processes,
            "pid": me.pid,
            "pid_started": me.pid_started,
            "seen": self.now(connection),
            "lease_s": lease_s,
        }
        if before is None:
            connection.execute(sa.insert(_leases).values(study=study, trial=trial, busy_s=0.0, **values))
        else:
            connection.execute(sa.update(_leases).where(where).values(**values))
        return Lease(study=study, trial=trial, busy_s=float(before["busy_s"]) if before else 0.0, **values)

    def renew(self, lease: Lease) -> bool:
        """A sign of life; False when another worker holds the trial now."""

        def update() -> bool:
            with self.engine.begin() as connection:
                return self._touch(connection, lease, "held")

        return retried(update, shown(self.url))()

    def end(self, connection: Connection, lease: Lease, state: str) -> bool:
        """Close the lease as ``done`` or ``released``; False when another worker holds the trial now."""
        return self._touch(connection, lease, state)

    def is_dead(self, lease: Lease, now: float, me: Me) -> bool:
        """Whether the holder is gone: its process ended, or no sign of it for ``lease_s``."""
        return _is_dead(lease, now, me)

    def now(self, connection: Connection) -> float:
        """Seconds since 1970 by the database's clock."""
        return clock.of_a_file(connection) if is_sqlite(self.url) else clock.of_a_server(connection)

    def skew_s(self) -> float:
        """Seconds by which this machine's clock is ahead of the database's."""

        def ask() -> float:
            with self.engine.connect() as connection:
                began = time.time()
                theirs = self.now(connection)
                return (began + time.time()) / 2 - theirs

        return retried(ask, shown(self.url))()

    def at_work(self, studies: Sequence[str], me: Me, connection: Connection | None = None) -> str:
        """The first of these studies that a living worker works on, or did until a moment ago; "" where none is."""
        where = _leases.c.study.in_(studies) & _leases.c.state.in_(("held", "done"))
        query = sa.select(_leases).where(where).order_by(_leases.c.seen.desc()).limit(_RECENT)
        with nullcontext(connection) if connection is not None else self.engine.connect() as asked:
            now, found = self.now(asked), [Lease(**row) for row in self._rows(query, asked)]
        for lease in found:
            ended_lately = lease.state == "done" and now - lease.seen <= BETWEEN_TRIALS_S
            if ended_lately or (lease.state == "held" and not self.is_dead(lease, now, me)):
                return lease.study
        return ""

    def stop_wish(self, study: str, connection: Connection | None = None) -> str:
        """``""``, ``"after"`` the running trials, or ``"now"``."""
        rows = self._rows(sa.select(_studies.c.stop).where(_studies.c.name == study), connection)
        return str(rows[0]["stop"]) if rows else ""

    def set_stop(self, study: str, wish: str) -> None:
        """Tell every worker of the study when to stop; "" lets them go on."""

        def update() -> None:
            with self.engine.begin() as connection:
                connection.execute(sa.update(_studies).where(_studies.c.name == study).values(stop=wish))

        retried(update, shown(self.url))()

    def claim_summary(self, study: str, ended: int, growth: float) -> bool:
        """Whether this worker shall refresh the figures: enough trials ended since the last time, and it is first."""

        def update() -> bool:
            due = (_studies.c.name == study) & (_studies.c.summary_at * growth + 1 <= ended)
            with self.engine.begin() as connection:
                return (
                    connection.execute(sa.update(_studies).where(due).values(summary_at=ended)).rowcount == 1
                )

        return retried(update, shown(self.url))()

    def names(self) -> list[str]:
        """Studies that have a row."""
        return [str(row["name"]) for row in self._rows(sa.select(_studies.c.name).order_by(_studies.c.name))]

    def forget(self, study: str) -> None:
        """Remove what is held of a study that is no longer in the storage."""

        def delete() -> None:
            with self.engine.begin() as connection:
                connection.execute(sa.delete(_leases).where(_leases.c.study == study))
                connection.execute(sa.delete(_studies).where(_studies.c.name == study))

        retried(delete, shown(self.url))()

    def _touch(self, connection: Connection, lease: Lease, state: str) -> bool:
        now = self.now(connection)
        mine = (
            (_leases.c.study == lease.study)
            & (_leases.c.trial == lease.trial)
            & (_leases.c.token == lease.token)
        ) & (_leases.c.state == "held")
        worked = _leases.c.busy_s + (now - _leases.c.seen)
        values = {"state": state, "seen": now, "busy_s": worked}
        return connection.execute(sa.update(_leases).where(mine).values(**values)).rowcount == 1

    def _rows(self, query: Any, connection: Connection | None = None) -> list[dict[str, Any]]:
        if connection is not None:
            return [dict(row) for row in connection.execute(query).mappings()]

        def read() -> list[dict[str, Any]]:
            with self.engine.connect() as fresh:
                return [dict(row) for row in fresh.execute(query).mappings()]

        return retried(read, shown(self.url))()

    def _create(self) -> None:
        if not is_sqlite(self.url) and self._is_made():
            return  # no worker waits for another's start
        with tables.lock(self.url), self.engine.begin() as connection:
            if not is_sqlite(self.url):
                connection.execute(
                    sa.text("select pg_advisory_xact_lock(4242001)")
                )  # other machines' processes
                connection.execute(sa.text("create schema if not exists d2n"))
            _metadata.create_all(connection)
            if is_sqlite(self.url):
                clock.metadata.create_all(connection)
                clock.begin(connection)
            version = connection.execute(sa.select(_versions.c.version)).scalar_one_or_none()
            if version is None:
                connection.execute(sa.insert(_versions).values(version=SCHEMA_VERSION))
            elif version == 1:
                self._add_version(connection)
            elif version != SCHEMA_VERSION:
                raise StudyError(
                    f"{shown(self.url)}: the tables of leases have version {version}, expected {SCHEMA_VERSION}: a "
                    "later d2n made them; install that one (pip install -U d2n), or name a fresh --study-storage"
                )

    def _is_made(self) -> bool:
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table(_versions.name, schema="d2n"):
                return False
            return connection.execute(sa.select(_versions.c.version)).scalar_one_or_none() == SCHEMA_VERSION

    def _add_version(self, connection: Connection) -> None:
        """From the tables of 0.1: nobody has said a version yet."""
        schema = "" if is_sqlite(self.url) else "d2n."
        column = "version varchar(64) not null default ''"
        connection.execute(sa.text(f"alter table {schema}d2n_studies add column {column}"))
        connection.execute(sa.update(_versions).values(version=SCHEMA_VERSION))


def alive_in(database: Path, me: Me) -> list[Lease]:
    """Leases of a SQLite file that living workers hold; the file is only read. StudyError where it cannot be."""
    columns = [field.name for field in dataclasses.fields(Lease)]
    query = f"SELECT {', '.join(columns)} FROM d2n_leases WHERE state = 'held'"  # noqa: S608 - our own names
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=20)) as opened:
            held, now = [Lease(*row) for row in opened.execute(query)], clock.read(opened)
    except sqlite3.Error as error:
        raise StudyError(f"{database} cannot be read: {error}") from error
    return [lease for lease in held if not _is_dead(lease, now, me)]


def _is_dead(lease: Lease, now: float, me: Me) -> bool:
    if lease.state == "released" or now - lease.seen > lease.lease_s:
        return True
    return lease.processes == me.processes and not processes.lives(lease.pid, lease.pid_started)


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
