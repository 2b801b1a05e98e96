"""``d2n store move | copy``: an embedded store in another place, with the artifact places in its databases.

The new store is made whole in a hidden folder beside its destination and renamed; a move then renames the old one away
and removes it. Whatever interrupts leaves either the whole old store or the whole new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from d2n.errors import D2NError, TrackingError
from d2n.files import refusals, scratch
from d2n.tracking import connection, places, schema

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]+:/")
_OURS = ("mlflow.db", "optuna.db", "optuna-leases.db")
_PROGRAMS = {"mlflow", "optuna-dashboard", "d2n"}
_COMPANY = (".lock", "-wal", "-shm", "-journal")  # of a database; what they hold is copied with it
_LOCK_S = 5.0


@dataclass(frozen=True)
class Databases:
    """The SQLite files of a store, by what is in them."""

    tracking: tuple[Path, ...]
    studies: tuple[Path, ...]
    leases: tuple[Path, ...]

    @property
    def all(self) -> tuple[Path, ...]:
        """Every one."""
        return (*self.tracking, *self.studies, *self.leases)


def move(source: str | Path, target: str | Path) -> list[str]:
    """The store in another folder; the old folder is gone afterwards.

    Where it was moved by hand already (no ``source`` any more), the places of the store in ``target`` are rewritten.
    TrackingError for what is no embedded store, for a target that is there, and while anything works in the store.
    """
    old, new = _folder(source), _folder(target)
    if not os.path.lexists(old) and new.is_dir() and any(new.glob("*.db")):
        return _moved_by_hand(old, new)
    number = _transferred(old, new, is_move=True)
    return [f"moved {old} to {new}: {number} places rewritten", *_shared(new), *_how_to_name(new)]


def copy(source: str | Path, target: str | Path) -> list[str]:
    """A second store in another folder, which writes into its own artifacts. See move."""
    old, new = _folder(source), _folder(target)
    number = _transferred(old, new, is_move=False)
    return [f"copied {old} to {new}: {number} places rewritten", *_shared(new), *_how_to_name(new)]


def _folder(given: str | Path) -> Path:
    text = str(given)
    if text.startswith("sqlite:"):
        raise TrackingError(f"{text}: expected the store's folder, such as mlruns")
    if _URL.match(text):
        raise TrackingError(
            f"{connection.display_uri(text)} is no folder: only an embedded store (SQLite files and artifacts in a "
            "folder) is moved or copied; a server's is backed up and restored, see docs/deploy.md"
        )
    if not text or "\0" in text:
        raise TrackingError("no folder is named: expected the store's folder, such as mlruns")
    return Path(os.path.normpath(Path(text).expanduser().absolute()))


def _transferred(old: Path, new: Path, *, is_move: bool) -> int:
    """How many places were rewritten."""
    try:
        found = _databases(old)
        _require_free(old, new)
        with _nothing_writes(found):
            _refuse_work(found, is_move=is_move)
            number = _made(old, new, found, is_move=is_move)
    except (OSError, sqlite3.Error, RecursionError) as error:
        raise TrackingError(f"{old} is as it was, {new} is not made: {_reason(error, new)}") from error
    if is_move:
        _remove(old, new)
    return number


def _databases(folder: Path) -> Databases:
    """TrackingError unless the folder holds an embedded store."""
    if folder.is_symlink():
        raise TrackingError(f"{folder} is a link: name the folder that it leads to, {folder.resolve()}")
    if not folder.is_dir():
        what = "no folder" if os.path.lexists(folder) else "not there"
        raise TrackingError(f"{folder} is {what}: expected the folder of a store, such as mlruns")
    from d2n.studies import attributes

    files = [file for file in sorted(folder.glob("*.db")) if file.is_file() and file.stat().st_size]
    found = Databases(
        tuple(file for file in files if _holds(places.is_tracking_store, file)),
        tuple(file for file in files if _holds(attributes.is_storage, file)),
        tuple(file for file in files if _holds(attributes.is_lease_table, file)),
    )
    if not found.tracking and not found.studies:
        inside = folder / "mlruns"
        hint = (
            f"did you mean {inside}?"
            if (inside / "mlflow.db").exists()
            else "expected mlflow.db or optuna.db"
        )
        raise TrackingError(f"{folder} holds no store: {hint}")
    for database in found.tracking:
        if schema.state(uri := connection.sqlite_uri(database)) == "newer":
            schema.require_current(uri)  # refused: it may hold places that this release does not know
    return found


def _holds(question: Callable[[Path], bool], file: Path) -> bool:
    """A file that is no database goes along as it is, unless it bears the name of one of ours."""
    try:
        return question(file)
    except D2NError:
        if file.name in _OURS:
            raise
        return False


def _require_free(old: Path, new: Path) -> None:
    if new.resolve() == old.resolve():
        raise TrackingError(f"{new} is where the store is already")
    if new.resolve().is_relative_to(old.resolve()):
        raise TrackingError(f"{new} lies inside the store {old}: choose a folder outside of it")
    if os.path.lexists(new) and (new.is_symlink() or not new.is_dir() or any(new.iterdir())):
        raise TrackingError(f"{new} is there already: choose a new folder, or remove it first")


@contextlib.contextmanager
def _nothing_writes(found: Databases) -> Iterator[None]:
    """The write lock of every database, for as long as it takes; who reads goes on."""
    with contextlib.ExitStack() as stack:
        for database in found.all:
            try:
                opened = sqlite3.connect(database, timeout=_LOCK_S, isolation_level=None)
                stack.enter_context(contextlib.closing(opened))
                opened.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise TrackingError(
                    f"{database} is being written, or cannot be ({error}): stop what works in the store first"
                ) from error
        yield


def _refuse_work(found: Databases, *, is_move: bool) -> None:
    """TrackingError while a run, a trial, or (for a move) a page of ours is at work in the store."""
    for database in found.tracking:
        places.refuse_alive(database)
    if found.leases:
        from d2n.studies.leases import alive_in, this_process

        for database in found.leases:
            for lease in alive_in(database, this_process()):
                raise TrackingError(
                    f"{database}: trial {lease.trial} of {lease.study} is held by {lease.worker}: stop it first "
                    f"(`d2n search stop {lease.study}`)"
                )
    for process, file in _openers(found.all) if is_move else ():
        raise TrackingError(f"{file} is open in process {process}: stop it first")


def _openers(files: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """(process, file) of pages and commands of ours that have a file open, as far as this user may look."""
    wanted = {str(file.resolve()): file for file in files}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            programs = {Path(word).name.partition(".")[0] for word in process.cmdline()[:6]} & _PROGRAMS
            for opened in process.open_files() if programs else ():
                if opened.path in wanted:
                    yield f"{process.pid} ({min(programs)})", wanted[opened.path]


def _made(old: Path, new: Path, found: Databases, *, is_move: bool) -> int:
    """The new store, whole under its name. How many places were rewritten."""
    new.parent.mkdir(parents=True, exist_ok=True)
    for left in scratch.leftovers([new.parent]):
        scratch.remove(left.path)
    aside = _hidden_beside(new)
    try:
        _copy_files(old, aside, found, link=is_move)
        number = _copy_databases(old, aside, new, found)
        aside.rename(new)  # over an empty folder too
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return number


def _copy_files(old: Path, aside: Path, found: Databases, *, link: bool) -> None:
    """Everything but the databases. For a move files are linked where the disk is the same, and links stay links."""
    names = {file.name for file in found.all}
    company = names | {f"{name}{suffix}" for name in names for suffix in _COMPANY}

    def left_out(folder: str, entries: list[str]) -> list[str]:
        is_top = Path(folder) == old
        return [
            name
            for name in entries
            if not _can_be_copied(Path(folder, name))
            or (is_top and (name in company or name.endswith(".lock")))
        ]

    def transfer(source: str, target: str) -> str:
        if link:
            with contextlib.suppress(OSError):
                os.link(source, target, follow_symlinks=False)
                return target
        return str(shutil.copy2(source, target))

    shutil.copytree(
        old, aside, symlinks=link, ignore_dangling_symlinks=True, ignore=left_out, copy_function=transfer
    )
    if link:
        _lead_out(old, aside)


def _can_be_copied(path: Path) -> bool:
    """A file, a folder or a link; a pipe has nothing to copy."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _lead_out(old: Path, aside: Path) -> None:
    """Relative links that lead out of the old folder lead to the same place from the new one."""
    for folder, folders, files in os.walk(aside):
        for name in (*folders, *files):
            link = Path(folder, name)
            if not link.is_symlink() or link.readlink().is_absolute():
                continue
            leads_to = Path(os.path.normpath((old / link.relative_to(aside)).parent / link.readlink()))
            if not leads_to.is_relative_to(old):
                link.unlink()
                link.symlink_to(leads_to)


def _copy_databases(old: Path, aside: Path, new: Path, found: Databases) -> int:
    """The databases with what is in their journals, and with the places that they will have."""
    from d2n.studies import attributes

    number = 0
    formers = dict.fromkeys((old, old.resolve()))
    for database in found.all:  # those with runs first: they know where the store was before
        copied = aside / database.name
        source, target = sqlite3.connect(database), sqlite3.connect(copied)
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target)
        shutil.copymode(database, copied)
        if database in found.tracking:
            for home in places.former_homes(database, chosen=places.chosen_root()):
                if home.state in ("moved", "copied"):  # by hand, before
                    places.fetch(database, home.root, aside / places.ARTIFACTS)
                    number += places.rewrite(copied, home.root, new / places.ARTIFACTS)
                    formers[home.root.parent] = None
            number += sum(places.rewrite(copied, former, new) for former in formers)
            places.rewrite_descriptions(copied, aside / places.ARTIFACTS)
        if database in found.studies:
            number += sum(attributes.rewrite_paths(copied, former, new) for former in formers)
    return number


def _remove(old: Path, new: Path) -> None:
    """The new store is whole: the old one goes out of sight at once, then for good."""
    if hasattr(os, "sync"):
        os.sync()
    gone = _hidden_beside(old)
    try:
        old.rename(gone)
    except OSError as error:  # such as a mount point
        raise TrackingError(
            f"{new} is whole, but the old store {old} cannot be removed ({error.strerror}): remove it yourself"
        ) from error
    shutil.rmtree(gone, ignore_errors=True)


def _hidden_beside(folder: Path) -> Path:
    """A name that `d2n doctor` knows for what a killed process left."""
    return folder.with_name(f".d2n-{scratch.machine()}-{os.getpid()}-{os.urandom(4).hex()}.part")


def _moved_by_hand(old: Path, new: Path) -> list[str]:
    from d2n.studies import attributes

    found = _databases(new)
    _refuse_work(found, is_move=False)
    number = 0
    for database in found.tracking:
        number += places.adopt(database, old / places.ARTIFACTS)
    for database in found.studies:
        number += attributes.rewrite_paths(database, old, new)
    if not number:
        raise TrackingError(f"{old} is not there, and no place of the store in {new} leads there")
    return [f"{new} was moved from {old} by hand: {number} places rewritten", *_how_to_name(new)]


def _shared(folder: Path) -> list[str]:
    """Artifacts that lie outside of the store, by choice: they did not come along."""
    database = folder / "mlflow.db"
    if not database.exists():
        return []
    return [f"  artifacts in {root} stay there" for root in places.outside(database)]


def _how_to_name(folder: Path) -> list[str]:
    """The settings that lead to the new place; the default of a command is mlruns where it starts."""
    lines = []
    if (folder / "mlflow.db").exists():
        lines.append(f"  export MLFLOW_TRACKING_URI='{connection.sqlite_uri(folder / 'mlflow.db')}'")
    if (folder / "optuna.db").exists():
        lines.append(f"  export D2N_STUDY_STORAGE='{connection.sqlite_uri(folder / 'optuna.db')}'")
    return lines


def _reason(error: BaseException, new: Path) -> str:
    if refusals.is_full(error):
        return refusals.refusal(error, new.parent) or refusals.why(error, new.parent)
    if isinstance(error, shutil.Error):  # a list of (from, to, why)
        where, _, why = error.args[0][0]
        return f"{where}: {why}"
    if isinstance(error, OSError):
        return f"{error.filename or new}: {error.strerror or error}"
    return str(error)
