"""Checkpoints of trials through the artifact store: what lies in the work folder is then a cache.

After each checkpoint the run's files are linked aside and sent from a thread, one after the other; what comes while
one is being sent replaces what waits. A worker without the files, or with older ones, fetches them before it goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from d2n.core import Evaluation, StepResult
from d2n.errors import D2NError
from d2n.studies.worker import LeaseLostError
from d2n.tracking import carried, names
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.tracked import Tracked

if TYPE_CHECKING:
    from d2n.tracking.runs import Store, TrackedRun

logger = logging.getLogger(__name__)
_MARK = "checkpoint*.json"  # written last: the checkpoint is whole
_NUMBER = re.compile(r"checkpoint-(\d+)\.json")
_COPIED_BYTES = 1 << 20  # smaller files may be written again in place: a link would change with them
_LINKS = ".carried-"


def carrying(kind: ExperimentKind) -> ExperimentKind:
    """The row whose trainings can go on wherever the artifact store can be reached."""
    return dataclasses.replace(kind, tracked=partial(_tracked, kind))


def forget(store: Store, run_id: str) -> None:
    """A trial is over: its checkpoints, and those of the runs below it, leave the artifact store."""
    below = store.find_runs(tags={names.PARENT_RUN: run_id})
    for one in (run_id, *(record.run_id for record in below)):
        try:
            carried.drop(store, one)
        except D2NError as error:
            logger.warning("%s", error)


def fetch(store: Store, run_id: str, folder: Path) -> None:
    """Bring the run's files here, unless those that are here are as new."""
    carried.unreplaced(store, run_id, lambda: _fetch(store, run_id, folder))


def _fetch(store: Store, run_id: str, folder: Path) -> None:
    found = carried.newest(store, run_id)
    if found is None:
        return
    here, there = _progress([name for name, _ in _marks(folder)]), _progress(found.sums)
    if here >= there and _marks(folder):  # without numbers what is here is believed
        return
    logger.info("run %s goes on from the artifact store (%d files)", run_id, len(found.sums))
    carried.get(store, run_id, found, folder)


@contextlib.contextmanager
def _tracked(
    kind: ExperimentKind,
    experiment: Any,
    *,
    store: Store,
    run: TrackedRun,
    work_root: Path,
    resume: bool,
    **given: Any,
) -> Iterator[Tracked[Any]]:
    folder = Path(work_root) / run.run_id
    if resume:
        fetch(store, run.run_id, folder)
    opened = kind.tracked(experiment, store=store, run=run, work_root=work_root, resume=resume, **given)
    with Carrier(store, run.run_id, folder) as carrier, opened as training:
        training.steps = _steps(training.steps, carrier)
        yield training


def _steps(steps: Generator[StepResult, None, None], carrier: Carrier) -> Generator[StepResult, None, None]:
    """The steps; at the first one after an evaluation its checkpoint is written, and the best generators fit it."""
    was_evaluation = False
    for found in steps:
        if was_evaluation:
            carrier.look()
        yield found
        was_evaluation = isinstance(found, Evaluation)


class Carrier:
    """Sends a run's files from a thread. Left by an error or a signal, it sends what is newest before it ends."""

    def __init__(self, store: Store, run_id: str, folder: Path) -> None:
        self._store, self._run_id, self._folder = store, run_id, folder
        self._seen = _marks(folder)
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._send_all, name=f"carry-{run_id[:8]}", daemon=True)

    def look(self) -> None:
        """Link the files aside and have them sent, if there is a new checkpoint."""
        now = _marks(self._folder)
        if now == self._seen or not now:
            return
        self._seen = now
        try:
            links = _linked(self._folder)
        except OSError as error:  # the training goes on; the next checkpoint is tried again
            logger.warning("checkpoint of run %s cannot be sent: %s", self._run_id, error)
            return
        with self._changed:
            _clear(self._waiting)
            self._waiting = links
            self._changed.notify()

    def __enter__(self) -> Carrier:
        for left in self._folder.glob(f"{_LINKS}*"):  # of a process that was killed
            _clear(left)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        goes_on = kind is not None and not issubclass(kind, LeaseLostError)
        if goes_on:
            self.look()
        with self._changed:
            if not goes_on:  # over, or another worker's
                _clear(self._waiting)
                self._waiting = None
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                while self._waiting is None and not self._is_over:
                    self._changed.wait()
                links, self._waiting = self._waiting, None
            if links is None:
                return
            try:
                files = {
                    path.relative_to(links).as_posix(): path for path in links.rglob("*") if path.is_file()
                }
                carried.put(self._store, self._run_id, files)
            except (D2NError, OSError) as error:
                logger.warning("checkpoint of run %s was not sent: %s", self._run_id, error)
            finally:
                _clear(links)


def _linked(folder: Path) -> Path:
    """What the run's folder holds now, as links beside it that stay when a file is replaced."""
    links = Path(tempfile.mkdtemp(prefix=_LINKS, dir=folder))
    try:
        for path in _files(folder):
            target = links / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size >= _COPIED_BYTES:
                try:
                    os.link(path, target)
                    continue
                except OSError:  # a file system without links
                    pass
            shutil.copyfile(path, target)
    except OSError:
        _clear(links)
        raise
    return links


def _files(folder: Path) -> list[Path]:
    """Of checkpoints the newest alone, which is whole; no hidden files."""
    seen = list(_visible(folder))
    newest: dict[Path, int] = {}
    for path in seen:
        newest[path.parent] = max(newest.get(path.parent, 0), _named(path.name))
    numbers = {path: _named(f"{path.stem}.json") for path in seen}
    return [
        path for path in seen if not numbers[path] or numbers[path] == (newest[path.parent] or numbers[path])
    ]


def _visible(folder: Path) -> Iterator[Path]:
    """Files that are not hidden. Hidden folders are not entered: the thread removes what it has sent meanwhile."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def _marks(folder: Path) -> frozenset[tuple[str, int]]:
    """What changes with every checkpoint."""
    found = set()
    for path in _visible(folder):
        if path.match(_MARK):
            with contextlib.suppress(OSError):
                found.add((str(path), path.stat().st_mtime_ns))
    return frozenset(found)


def _progress(names: Iterable[str]) -> int:
    """How far the checkpoints of these names are: each folder (a seed has its own) counts by its newest."""
    newest: dict[Path, int] = {}
    for name in names:
        folder = Path(name).parent
        newest[folder] = max(newest.get(folder, 0), _named(name))
    return sum(newest.values())


def _named(path: str) -> int:
    found = _NUMBER.fullmatch(Path(path).name)
    return int(found[1]) if found else 0


def _clear(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
