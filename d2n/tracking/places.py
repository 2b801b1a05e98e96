"""Where a SQLite store's artifacts lie: absolute places in its tables, told from those of a store moved or copied.

A place of MLflow is ``ROOT/EXPERIMENT`` for an experiment, ``ROOT/EXPERIMENT/RUN/artifacts`` for a run and
``ROOT/EXPERIMENT/models/MODEL/artifacts`` for a logged model and its versions; d2n's ROOT is ``artifacts/`` beside
the database.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from d2n.errors import TrackingError
from d2n.files.refusals import why
from d2n.tracking.answers import describe
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.liveness import Verdict, judge

ARTIFACTS = "artifacts"  # the folder beside the database
ARTIFACT_ROOT = "D2N_ARTIFACT_ROOT"  # for a database that is used without a server
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("trace_tags", "value"),
)
_BUSY_S = 20.0


@dataclass(frozen=True)
class FormerHome:
    """Another folder that places of a store lead to.

    moved: the files are here, and no longer there. copied: they are at both. database only: the database was copied,
    and reads and writes the original's files. lost: they are at neither.
    """

    root: Path
    state: Literal["moved", "copied", "database only", "lost"]

    def describe(self, database: Path) -> str:
        """One line without what to do."""
        here, there = database.parent, self.root.parent
        return {
            "moved": f"the store was moved here from {there}: its artifact places still lead there, nothing loads",
            "copied": f"the store was copied from {there}: its artifact places still lead there, "
            "so that what it writes goes into the original",
            "database only": f"{database.name} was copied from {there} without its artifacts: "
            "what it writes goes into the original",
            "lost": f"its artifact places lead to {self.root}, which is not there, and nothing of them is in {here}",
        }[self.state]


def chosen_root() -> Path | None:
    """The folder that D2N_ARTIFACT_ROOT names, if it names one."""
    given = os.environ.get(ARTIFACT_ROOT, "")
    return local_path(given) if "://" in given else (Path(given).absolute() if given else None)


def former_homes(
    database: Path, *, experiments_only: bool = False, chosen: Path | None = None
) -> list[FormerHome]:
    """Folders other than its own that a store's places lead to, where they are those of a store moved or copied.

    The folder ``chosen`` for the artifacts, and a store elsewhere such as s3://, are none. With ``experiments_only``
    the runs are not read: quick, for every opening. TrackingError for a file that cannot be read.
    """
    own = database.parent / ARTIFACTS
    with _reading(database) as opened:
        found = _roots(opened, experiments_only)
    homes = []
    for root, below in found.items():
        if _is_same(root, own) or (chosen is not None and _is_same(root, chosen)):
            continue
        state = _judge(database, root, below)
        if state is not None:
            homes.append(FormerHome(root, state))
    return homes


def rewrite(database: Path, former: Path, own: Path) -> int:
    """Make every place below ``former`` one below ``own``, in one transaction; how many there were."""
    changed = 0
    with _writing(database) as opened:
        for table, column in _present(opened):
            for (place,) in opened.execute(f'SELECT DISTINCT "{column}" FROM "{table}"').fetchall():  # noqa: S608
                new = moved_place(place, former, own)
                if new is not None:
                    cursor = opened.execute(
                        f'UPDATE "{table}" SET "{column}" = ? WHERE "{column}" = ?',  # noqa: S608 - our own names
                        (new, place),
                    )
                    changed += cursor.rowcount
    return changed


def moved_place(place: object, former: Path, own: Path) -> str | None:
    """A place below ``former`` as it is below ``own``, written as it was (URI or path); None for any other."""
    path = local_path(place)
    if path is None or not path.is_relative_to(former):
        return None
    new = own / path.relative_to(former)
    return new.as_uri() if str(place).startswith("file:") else str(new)


def local_path(place: object) -> Path | None:
    """The path of a ``file:`` URI or of an absolute path; None for a place elsewhere."""
    if not isinstance(place, str) or "\0" in place:
        return None
    if place.startswith("/"):
        return Path(place)
    if not place.startswith("file:"):
        return None
    try:
        parts = urlsplit(place)
    except ValueError:
        return None
    path = unquote(parts.path)
    return Path(path) if path.startswith("/") and parts.netloc in ("", "localhost") else None


def mend(database: Path, home: FormerHome) -> int:
    """Give a store that was moved or copied by hand its own places; how many were rewritten.

    What it wrote into the original since it was copied is fetched first. TrackingError while a run is alive in it,
    or where a person must decide.
    """
    if home.state not in ("moved", "copied"):
        raise TrackingError(f"{home.describe(database)}: this needs a person")
    refuse_alive(database)
    return adopt(database, home.root)


def adopt(database: Path, former: Path) -> int:
    """Places below ``former`` become the store's own, with the files that lie there alone; how many."""
    own = database.parent / ARTIFACTS
    try:
        fetch(database, former, own)
        number = rewrite(database, former, own)
        rewrite_descriptions(database, own)
    except OSError as error:
        raise TrackingError(f"{error.filename or own}: {why(error, own)}; do the same again") from error
    return number


def fetch(database: Path, former: Path, into: Path) -> None:
    """Copy the files of the runs and models of a store that lie below ``former`` and not below ``into``."""
    with _reading(database) as opened:
        below = sorted(_below(opened, former))
    for relative in below:
        _fetch_missing(former / relative, into / relative)


def rewrite_descriptions(database: Path, artifacts: Path) -> None:
    """The place that each model's own description (MLmodel) gives becomes that of the database."""
    with _reading(database) as opened:
        if ("logged_models", "artifact_location") not in _present(opened):
            return
        told = opened.execute("SELECT model_id, artifact_location FROM logged_models").fetchall()
    for model_id, place in told:
        for file in artifacts.glob(f"*/models/{model_id}/{ARTIFACTS}/MLmodel"):
            _describe(file, str(place))


def outside(database: Path) -> list[Path]:
    """Folders that artifacts of the store lie in, other than the one beside the database."""
    own = database.parent / ARTIFACTS
    with _reading(database) as opened:
        return sorted(root for root in _roots(opened, experiments_only=False) if not _is_same(root, own))


def alive_runs(database: Path, silence_s: float | None = None) -> list[tuple[str, Verdict]]:
    """(run id, why) of RUNNING runs that a process may still write."""
    with _reading(database) as opened:
        running = opened.execute(
            "SELECT run_uuid, start_time FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active'"
        ).fetchall()
        found = []
        for run_id, start_ms in running:
            tags = opened.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))
            known = {str(key): str(value) for key, value in tags}
            last = opened.execute(
                "SELECT max(timestamp) FROM latest_metrics WHERE run_uuid = ?", (run_id,)
            ).fetchone()[0]
            seen = max(float(start_ms or 0), float(last or 0)) / 1000
            found.append((str(run_id), judge(known, seen, silence_s)))
    return [(run_id, verdict) for run_id, verdict in found if verdict.state != "gone"]


def refuse_alive(database: Path) -> None:
    """TrackingError that names a run which is still being written."""
    for run_id, verdict in alive_runs(database)[:1]:
        raise TrackingError(
            f"{database}: run {run_id} is RUNNING ({verdict.reason}): stop it first, or close it with "
            "`d2n doctor --mend` (with `--silent-h 0` where no process writes it)"
        )


def is_tracking_store(database: Path) -> bool:
    """Whether the SQLite file holds MLflow's runs."""
    with _reading(database) as opened:
        names = {row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {"experiments", "runs"} <= names


def _judge(
    database: Path, root: Path, below: set[Path]
) -> Literal["moved", "copied", "database only", "lost"] | None:
    own = database.parent / ARTIFACTS
    is_here = any((own / relative).exists() for relative in below)
    is_there = root.exists()
    if is_here:
        return "copied" if is_there else "moved"
    if is_there:
        return "database only" if _is_database_of(root.parent, database) else None
    return "lost" if below else None


def _is_database_of(folder: Path, database: Path) -> bool:
    """Whether a folder holds the database that this one is a copy of: they share their runs' ids."""
    other = folder / database.name
    if not other.is_file() or _is_same(other, database):
        return False
    query = "SELECT run_uuid FROM runs LIMIT 1000"
    try:
        with _reading(database) as mine, _reading(other) as theirs:
            return bool(set(mine.execute(query)) & set(theirs.execute(query)))
    except TrackingError:
        return False


def _roots(opened: sqlite3.Connection, experiments_only: bool) -> dict[Path, set[Path]]:
    """ROOT → the places below it, relative. The default experiment counts once it holds a run."""
    places: set[tuple[str, int]] = set()  # (place, how many folders below its root)
    present = _present(opened)
    if ("experiments", "artifact_location") in present:
        query = (
            "SELECT artifact_location FROM experiments WHERE experiment_id != 0"
            " OR EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = experiments.experiment_id)"
        )
        places |= {(row[0], 1) for row in opened.execute(query)}
    if not experiments_only:
        for table, column, depth in (
            ("runs", "artifact_uri", 3),
            ("logged_models", "artifact_location", 4),
            ("model_versions", "storage_location", 4),
        ):
            if (table, column) in present:
                places |= {(row[0], depth) for row in opened.execute(f'SELECT "{column}" FROM "{table}"')}  # noqa: S608
    found: dict[Path, set[Path]] = {}
    for place, depth in places:
        path = local_path(place)
        if path is not None and len(path.parts) > depth + 1 and (depth == 1 or path.name == ARTIFACTS):
            root = path.parents[depth - 1]
            found.setdefault(root, set()).add(path.relative_to(root))
    return found


def _below(opened: sqlite3.Connection, former: Path) -> set[Path]:
    """The runs' and models' folders below ``former``, relative to it."""
    every = _roots(opened, experiments_only=False).get(former, set())
    return every - _roots(opened, experiments_only=True).get(former, set())


def _fetch_missing(there: Path, here: Path) -> None:
    """Copy the files of a folder that are not here; what is here stays."""
    for folder, _, files in os.walk(there):
        for name in files:
            source = Path(folder, name)
            target = here / source.relative_to(there)
            if target.exists() or not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            shutil.copy2(source, part)
            part.replace(target)


def _describe(file: Path, place: str) -> None:
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    said = f"artifact_path: {json.dumps(place)}\n"
    new = [said if line.startswith("artifact_path: ") and place not in line else line for line in lines]
    if new != lines:
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        part.write_text("".join(new), encoding="utf-8", errors="surrogateescape")
        shutil.copymode(file, part)
        part.replace(file)


def _present(opened: sqlite3.Connection) -> list[tuple[str, str]]:
    """Those of the columns with places that this version of the tables has."""
    found = []
    for table, column in _COLUMNS:
        names = {row[1] for row in opened.execute(f'PRAGMA table_info("{table}")')}
        if column in names:
            found.append((table, column))
    return found


def _is_same(a: Path, b: Path) -> bool:
    """Whether two paths are one place, also through a link."""
    return a.resolve() == b.resolve()


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with _opened(database, "ro" if not os.access(database, os.W_OK) else "rw") as opened:
        yield opened


@contextmanager
def _writing(database: Path) -> Iterator[sqlite3.Connection]:
    with _opened(database, "rw") as opened:
        opened.execute("BEGIN IMMEDIATE")
        with opened:
            yield opened


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S)
        connection.isolation_level = None
        with contextlib.closing(connection):
            yield connection
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise TrackingError(describe(error, sqlite_uri(database))) from error
