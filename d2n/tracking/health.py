"""What is wrong in a tracking store, and mending it: orphan runs, versions that do not load, half-made tables."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import psutil

from d2n.errors import TrackingError
from d2n.files import scratch
from d2n.tracking import places, registry_health, run_health, schema
from d2n.tracking.connection import display_uri, resolve_uri, sqlite_path, work_root
from d2n.tracking.findings import Finding, Kind, examined
from d2n.tracking.registry_health import broken_versions, strayed_aliases
from d2n.tracking.run_health import missing_folders, orphan_runs, unfinished_models, unnamed_runs
from d2n.tracking.runs import Store, open_store
from d2n.tracking.seal_health import broken_seals
from d2n.tracking.spool import disk, replay

__all__ = [
    "Finding", "Kind", "broken_versions", "examine", "examine_files", "examine_places", "examine_schema",
    "examine_unsent", "mend", "missing_folders", "orphan_runs", "send_unsent", "strayed_aliases",
    "unfinished_models", "unnamed_runs", "watched",
]  # fmt: skip
_REPLAY_RETRY_S = 60.0
_MEND_SCHEMA = {
    "older": "keep a copy and upgrade the tables (stop everything that writes first)",
    "half-made": "move the file aside (it holds no run); the next start makes a new one",
}


def examine(tracking_uri: str | None = None, silence_s: float | None = None) -> list[Finding]:
    """Everything wrong in the store; a store that is not there yet has nothing wrong.

    Where the tables are broken, or the places of a store that was moved, what would follow from that is left out.
    TrackingError where the store cannot be reached at all.
    """
    uri = resolve_uri(tracking_uri)
    path = sqlite_path(uri)
    found = examine_files(uri) + examine_unsent(uri)
    if not uri.startswith("http"):
        found += examine_schema(uri)
        if any(one.kind == "schema" for one in found) or schema.state(uri) == "absent":
            return found
    store = open_store(uri)
    found += examined("runs", lambda: orphan_runs(store, silence_s))
    away = examined("places", lambda: examine_places(path)) if path is not None else []
    if away:
        return found + away
    for what, check in (
        ("artifacts", missing_folders),
        ("models", broken_versions),
        ("seals", broken_seals),
        ("aliases", strayed_aliases),
        ("logged models", unfinished_models),
    ):
        found += examined(what, partial(check, store))
    return found


def examine_unsent(uri: str) -> list[Finding]:
    """What runs logged while their server was away, and nobody sent since."""
    return [
        Finding("unsent", str(one.folder), f"run {one.run_id}: {one}", "send them", "`d2n doctor --replay`")
        for one in replay.left(work_root(uri))
        if not one.is_held
    ]


def send_unsent(tracking_uri: str | None = None) -> tuple[list[str], bool]:
    """Send all of that; a line for each run, and whether the servers have everything now.

    Without a URI each run's goes to the server that it was logged to. TrackingError where that does not answer.
    """
    given = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    root = work_root(resolve_uri(given))
    lines, is_done, stores = list[str](), True, dict[str, Store]()
    for one in replay.left(root):
        uri = resolve_uri(given or one.store)
        if uri not in stores:
            stores[uri] = open_store(uri, retry_s=_REPLAY_RETRY_S)
        try:
            lines.append(replay.send(stores[uri], one.folder))
            is_done = is_done and not (one.folder / disk.REFUSED).exists()
        except TrackingError as error:
            lines.append(f"not sent: {error}")
            is_done = False
    return lines or [f"nothing waits in {root}"], is_done


def watched(tracking_uri: str | None = None, silence_s: float | None = None) -> list[str]:
    """Lines on what is no finding yet: RUNNING runs of which nobody can tell whether they are alive."""
    uri = resolve_uri(tracking_uri)
    if not uri.startswith("http") and schema.state(uri) != "current":
        return []
    return unnamed_runs(open_store(uri), silence_s)


def mend(tracking_uri: str | None, finding: Finding) -> str:
    """Do what `finding.mending` says; one line of what was done. TrackingError where there is nothing to do."""
    uri = resolve_uri(tracking_uri)
    if not finding.mending:
        raise TrackingError(f"{finding.subject}: {finding.message}: this needs a person")
    if finding.kind == "schema":
        return _mend_schema(uri, finding)
    if finding.kind == "leftover":
        return _remove(Path(finding.subject))
    if finding.kind == "unsent":
        return replay.send(open_store(uri), Path(finding.subject))
    if finding.kind == "moved store":
        return _mend_places(uri)
    store = open_store(uri)
    if finding.kind == "orphan run":
        return run_health.close_orphan(store, finding.subject)
    if finding.kind == "unfinished model":
        store.call(store.client.finalize_logged_model, finding.subject, "FAILED")
        return f"marked logged model {finding.subject} FAILED"
    if finding.kind == "alias":
        mending = registry_health.settle_alias if "@" in finding.subject else registry_health.settle_model
        return mending(store, finding.subject)
    return registry_health.retire_version(store, finding.subject)


def examine_schema(uri: str) -> list[Finding]:
    """The database's tables against those of the installed MLflow."""
    found = schema.state(uri)
    if found in ("current", "absent"):
        return []
    message, mending, advice = f"the tables are {found} for the installed MLflow", "", ""
    if found in ("unstamped", "incomplete"):
        message, mending, advice = _of_a_full_store(uri, found)
    elif sqlite_path(uri) is not None:
        mending = _MEND_SCHEMA.get(found, "")
    if not mending and not advice:
        advice = {
            "newer": "install the MLflow that touched it: pip install -U mlflow",
            "foreign": "give MLflow a database of its own: --tracking-uri sqlite:///FILE",
        }.get(found, "back it up, stop everything that writes, and run `mlflow db upgrade` with its URI")
    return [Finding("schema", display_uri(uri), message, mending, advice)]


def examine_files(uri: str) -> list[Finding]:
    """What killed processes left: of making or upgrading a SQLite store, and scratch folders and files."""
    path, found = sqlite_path(uri), []
    if path is not None and path.parent.is_dir():
        for file in sorted(path.parent.glob(f".{path.name}.*")):
            pid = file.name.removeprefix(f".{path.name}.").partition(".")[0]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                found.append(Finding("leftover", str(file), "left by a process that is gone", "remove it"))
    left = scratch.leftovers(_scratch_places(path))
    return found + [
        Finding("leftover", str(one.path), f"left behind: {one.reason}", "remove it") for one in left
    ]


def examine_places(database: Path) -> list[Finding]:
    """Whether a SQLite store was moved or copied: its artifact places lead to another folder."""
    found = []
    for home in places.former_homes(database, chosen=places.chosen_root()):
        mending, advice = "", ""
        if home.state in ("moved", "copied"):
            fetched = ", fetch what it wrote there since" if home.state == "copied" else ""
            mending = f"make the places its own{fetched}; aliases and runs stay as they are"
        elif home.state == "database only":
            advice = f"copy the whole store instead: `d2n store copy {home.root.parent} FOLDER`"
        else:
            here, there = database.parent, home.root.parent
            advice = (
                f"bring {home.root} back (a disk that is not mounted?); or, where the store was moved and has no "
                f"artifacts: `d2n store move {there} {here}`"
            )
        subject = display_uri(f"sqlite:///{database}")
        found.append(Finding("moved store", subject, home.describe(database), mending, advice))
    return found


def _of_a_full_store(uri: str, state: str) -> tuple[str, str, str]:
    """(message, mending, advice) for tables that hold runs: they are never put aside."""
    lacking = schema.missing_tables(uri)
    some = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
    is_file = sqlite_path(uri) is not None
    if state == "unstamped":
        message = "the row with the tables' version (alembic_version) is lost or not the only one; the runs are there"
        if not lacking:
            return (
                message,
                "keep a copy and write this MLflow's version: its tables are these" if is_file else "",
                "",
            )
        advice = (
            f"bring a copy back, or write the version of the MLflow that made it: this one also has {some}"
        )
        return message, "", advice
    message = f"the store holds runs and lacks {some}"
    if is_file and not any("." in one for one in lacking):
        return message, "keep a copy and make them, empty; what they held is lost", "or bring a copy back"
    return message, "", "bring a copy back"


def _scratch_places(database: Path | None) -> list[Path]:
    places_of_ours = [Path(tempfile.gettempdir())]
    if database is not None:
        places_of_ours += [database.parent, database.parent / "work", database.parent.parent]
    return places_of_ours


def _remove(path: Path) -> str:
    try:
        if scratch.is_named(path):
            scratch.remove(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TrackingError(f"{path} cannot be removed: {error.strerror or error}") from error
    return f"removed {path}"


def _mend_places(uri: str) -> str:
    path = sqlite_path(uri)
    if path is None:
        raise TrackingError(f"{display_uri(uri)}: the places of a server are its own")
    number = 0
    for home in places.former_homes(path, chosen=places.chosen_root()):
        number += places.mend(path, home)
    return f"{number} places lead into {path.parent} now"


def _mend_schema(uri: str, finding: Finding) -> str:
    path = sqlite_path(uri)
    if path is None:
        raise TrackingError(f"{finding.subject}: back it up and run `mlflow db upgrade` with its URI")
    state = schema.state(uri)
    if state == "older":
        return f"upgraded {finding.subject}; the former file is {schema.upgrade(path).name}"
    if state == "unstamped":
        return f"wrote the version of {finding.subject}; the former file is {schema.stamp(path).name}"
    if state == "incomplete":
        return f"made the lost tables of {finding.subject}; the former file is {schema.complete(path).name}"
    if state == "half-made":
        return f"moved {finding.subject} aside to {schema.set_aside(path).name}"
    return f"{finding.subject} is {state} by now"
