"""The clock of a study's database: one for all its workers, which goes on evenly."""

from __future__ import annotations

import sqlite3
import time

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from d2n.files.processes import boot

metadata = sa.MetaData()
_clocks = sa.Table(
    "d2n_clocks",
    metadata,
    sa.Column("boot", sa.String(64), primary_key=True),  # of the machine: its own count begins anew with each
    sa.Column("origin", sa.Float, nullable=False),  # seconds since 1970 at which that count was zero
)


def begin(connection: Connection) -> None:
    """Keep what time it was when the machine started, unless another process did."""
    if _origin(connection) is None:
        connection.execute(sa.insert(_clocks).values(boot=boot(), origin=time.time() - time.monotonic()))


def of_a_file(connection: Connection) -> float:
    """Seconds since 1970 by the clock of a SQLite file: this machine's, as it was when its first worker came.

    A correction of the machine's clock, or its sleep, does not move it: all workers are on the machine, and a lease
    that was held before is held after.
    """
    origin = _origin(connection)
    return time.time() if origin is None else origin + time.monotonic()


def read(opened: sqlite3.Connection) -> float:
    """The same, of a file that is only read; this machine's clock where nobody kept what time it was."""
    try:
        row = opened.execute("SELECT origin FROM d2n_clocks WHERE boot = ?", (boot(),)).fetchone()
    except sqlite3.OperationalError:  # no worker of this release has opened it yet
        row = None
    return time.time() if row is None else float(row[0]) + time.monotonic()


def of_a_server(connection: Connection) -> float:
    """Seconds since 1970 by the clock of PostgreSQL's machine."""
    return float(connection.execute(sa.text("select extract(epoch from clock_timestamp())")).scalar_one())


def _origin(connection: Connection) -> float | None:
    return connection.execute(
        sa.select(_clocks.c.origin).where(_clocks.c.boot == boot())
    ).scalar_one_or_none()
