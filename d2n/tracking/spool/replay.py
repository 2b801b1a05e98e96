"""Sends what a process left on disk: in order, and each thing once, whatever of it the server has already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from mlflow.entities import Run

from d2n.errors import TrackingError
from d2n.files.reading import files_below
from d2n.tracking import liveness, names
from d2n.tracking.answers import is_absent, is_lasting
from d2n.tracking.connection import Connection
from d2n.tracking.spool import disk, writes
from d2n.tracking.spool.disk import Owner, Spool
from d2n.tracking.spool.writes import Known, Write

_Group = list[tuple[int, Write]]


@dataclass(frozen=True)
class Left:
    """What of a run waits for its server."""

    run_id: str
    store: str  # the server's address; '' where that cannot be read
    folder: Path
    count: int
    size_bytes: int
    since: datetime

    @property
    def is_held(self) -> bool:
        """Whether a living process of this machine sends it itself."""
        try:
            with liveness.locked(self.folder, self.run_id):
                return False
        except TrackingError:
            return True

    def __str__(self) -> str:
        where = f" to {self.store}" if self.store else ""
        return (
            f"{self.count} batches ({self.size_bytes / 2**20:.1f} MB, since {self.since:%Y-%m-%d %H:%M}) are not sent"
            f"{where}; they wait in {self.folder}"
        )


def left(work_root: Path) -> list[Left]:
    """All that waits below a work folder."""
    found = []
    for folder in disk.waiting(work_root):
        spool, whose = Spool(folder), disk.owner(folder)
        run_id = whose.run_id if whose is not None else folder.parent.name
        written = [
            found.st_mtime
            for path, found in files_below(folder)
            if path.parent == folder and path.suffix == ".json"
        ]
        if not written:  # its process sent the last of them just now
            continue
        since = datetime.fromtimestamp(min(written)).astimezone()
        store = whose.store if whose is not None else ""
        found.append(Left(run_id, store, folder, len(spool), spool.size_bytes, since))
    return found


def send(store: Connection, folder: Path) -> str:
    """Send what waits in a spool's folder; one line of what was done.

    TrackingError where the server does not answer, has no such run, or where the run's process lives and sends it
    itself. What the server refuses goes into ``refused/`` beside it with the reason.
    """
    with liveness.locked(folder, folder.parent.name):
        spool = Spool(folder)
        whose = disk.owner(folder) or Owner(folder.parent.name, "", 1)
        run = _run(store, whose, folder)
        is_superseded = _attempt(run) > whose.attempt
        if is_superseded and _is_alive(run):
            raise TrackingError(
                f"run {whose.run_id} is worked on by another process since: what waits in {folder} is sent when it ends"
            )
        count, refused = len(spool), 0
        sending = _Sending(store, spool, whose.run_id, is_superseded)
        for group in _groups(spool):
            refused += sending.send(group)
        spool.clear()
    told = f"run {whose.run_id}: {count - refused} batches sent"
    return (
        f"{told}, {refused} refused: they are in {folder / disk.REFUSED} with the reasons"
        if refused
        else told
    )


@dataclass
class _Sending:
    """What one spool holds, on its way."""

    store: Connection
    spool: Spool
    run_id: str
    is_superseded: bool  # a later process took the run up: only what the run has not
    known: Known = field(default_factory=dict)

    def send(self, group: _Group) -> int:
        """Send writes as one; how many of them the server refused."""
        write: Write | None = writes.joined([one for _, one in group])
        try:
            if self.is_superseded and write is not None:
                write = _absent(self.store, self.run_id, write)
            if write is not None:
                self.store.call(self._perform, write)
        except TrackingError as error:
            cause = error.__cause__
            if cause is None or not is_lasting(cause, self.store.uri):
                raise
            if len(group) > 1:
                return sum(self.send([one]) for one in group)
            self.spool.refuse(group[0][0], str(error))
            return 1
        for number, _ in group:
            self.spool.drop(number)
        return 0

    def _perform(self, write: Write) -> None:
        """Of an attempt that fails nothing is known: what the server has is asked anew before the next."""
        known, self.known = self.known, {}
        write.perform(self.store.client, self.run_id, known)
        self.known = known


def _groups(spool: Spool) -> Iterator[_Group]:
    """The writes in order; metrics that follow each other together."""
    group: _Group = []
    for number in spool.numbers:
        write = spool.read(number)
        if group and writes.fitting([*(one for _, one in group), write]) <= len(group):
            yield group
            group = []
        group.append((number, write))
    if group:
        yield group


def _absent(store: Connection, run_id: str, write: Write) -> Write | None:
    """What of a write the run has not: a later process of it has the last word."""
    if write.kind == "end":
        return None
    if write.kind in ("params", "tags"):
        data = store.call(store.client.get_run, run_id).data
        there = data.params if write.kind == "params" else data.tags
        missing = {key: value for key, value in write.data[write.kind].items() if key not in there}
        return replace(write, data={write.kind: missing}) if missing else None
    if write.kind == "files":
        listed = store.call(store.client.list_artifacts, run_id, write.data["folder"])
        named = {_without_stamp(PurePosixPath(one.path).name) for one in listed}
        files = {name: file for name, file in write.files.items() if _without_stamp(name) not in named}
        return replace(write, files=files) if files else None
    return write


def _without_stamp(name: str) -> str:
    """An image of the grid without when it was logged: its key, its step, and what it is."""
    return f"{name.partition('+timestamp+')[0]}{PurePosixPath(name).suffix}"


def _run(store: Connection, whose: Owner, folder: Path) -> Run:
    elsewhere = f", and it was logged to {whose.store}: give --tracking-uri" if whose.store else ""
    try:
        run = store.call(store.client.get_run, whose.run_id)
    except TrackingError as error:
        if is_absent(error):
            raise TrackingError(
                f"no run {whose.run_id} in {store.display_uri}{elsewhere}; what it logged waits in {folder}"
            ) from error
        raise
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"run {whose.run_id} was deleted: `mlflow runs restore --run-id {whose.run_id}` brings it back, or remove "
            f"{folder}"
        )
    return run


def _attempt(run: Run) -> int:
    text = run.data.tags.get(names.ATTEMPT, "1")
    return int(text) if text.isdecimal() else 1


def _is_alive(run: Run) -> bool:
    if run.info.status != "RUNNING":
        return False
    return liveness.judge(run.data.tags, run.info.start_time / 1000).state != "gone"
