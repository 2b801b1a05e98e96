"""Sends what a run logs from a thread of its own, in order: whoever logs waits for an answer, and not for long.

While the server answers, a write is over when the server has it, as without the thread. Once it fails or does not
answer in time, what is logged is kept on disk and nobody waits; the thread asks again, and sends all of it in order
when the server is back.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from d2n import secrets
from d2n.errors import D2NError, ServerAwayError, TrackingError
from d2n.files import journal
from d2n.tracking import environment, names
from d2n.tracking.answers import brief, describe, first_line, is_bug, is_lasting
from d2n.tracking.connection import Connection, answered
from d2n.tracking.spool import disk, writes
from d2n.tracking.spool.disk import Owner, Spool
from d2n.tracking.spool.writes import Write

logger = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_SAID_AGAIN_S = 60.0  # a server that comes and goes is not told of more often
_JOIN_S = 1.0  # a call that hangs is left behind: what it sent is looked for before it is sent again


@dataclass(frozen=True)
class Waits:
    """How long whoever logs waits for an answer, how long a run waits where it must, how much may wait on disk.

    ``pause_s`` is the longest pause between two questions to a server that is away.
    """

    step_s: float = 10.0
    patience_s: float = 300.0
    most_bytes: int = 1024 * 2**20
    pause_s: float = 10.0


@dataclass
class _Item:
    write: Write | None  # None: on disk alone
    number: int | None = None  # on disk
    tries: int = 0
    is_sent: bool = False
    is_waited_for: bool = False
    error: Exception | None = None


class Sender:
    """The writes of one run on their way. ``put`` and ``flush`` raise what the server refuses for good."""

    def __init__(self, store: Connection, spool: Spool, owner: Owner, waits: Waits) -> None:
        self._store, self._spool, self._owner, self._waits = store, spool, owner, waits
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._away = ""  # why nobody waits for the server; '' while it answers and nothing is left
        self._said_at = float("-inf")
        self._first_pause_s = min(_FIRST_PAUSE_S, waits.pause_s)
        self._pause_s, self._next_try = self._first_pause_s, 0.0
        self._refused: Exception | None = None  # something that was kept
        self._known: writes.Known = {}
        self._one_by_one = 0
        self._unsynced: list[int] = []  # on disk, and a power cut would take them
        self._num_sent = 0
        self._has_given_up = self._is_over = self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"log-{owner.run_id[:8]}", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether something is on disk alone: what the server says of the run is not all of it."""
        return bool(self._away)

    @property
    def has_given_up(self) -> bool:
        """Whether the server was waited for in vain: nobody waits twice."""
        return self._has_given_up

    def put(self, write: Write) -> None:
        """Log: the server has it afterwards, or the disk. ServerAwayError where the disk holds all that it may."""
        with self._changed:
            self._raise_refused()
            self._make_room(write)
            item = _Item(write)
            if self._away:
                self._keep_all()
                self._keep(item)
            self._items.append(item)
            self._changed.notify_all()
            if item.number is None:
                self._wait_for(item)

    def flush(self, patience_s: float | None = None) -> None:
        """Return when the server has everything; ServerAwayError where it takes nothing for so long."""
        limit = self._waits.patience_s if patience_s is None else patience_s
        with self._changed:
            if self._away and limit > 1 and not self._has_given_up:
                logger.warning("run %s waits up to %.0f s: %s", self._owner.run_id, limit, self._left())
            seen, since = self._num_sent, time.monotonic()
            while self._items and self._refused is None:
                left = 0.0 if self._has_given_up else since + limit - time.monotonic()
                if left <= 0:
                    self._has_given_up = True
                    self._keep_all()
                    raise ServerAwayError(
                        f"run {self._owner.run_id}: {self._left()}; once the server is back, "
                        "`d2n doctor --replay` sends it"
                    )
                self._changed.wait(left)
                if self._num_sent != seen:
                    seen, since = self._num_sent, time.monotonic()
            self._raise_refused()

    def stop(self) -> None:
        """Send nothing more; what is left stays on disk."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)
        with self._changed:
            self._is_over = True  # of a call that still hangs nothing is heard any more
            self._keep_all()
            self._sync()
            if self._items and not self._has_given_up:
                words = "run %s: %s; resuming the run or `d2n doctor --replay` sends it"
                logger.warning(words, self._owner.run_id, self._left())
            self._spool.clear()

    def _wait_for(self, item: _Item) -> None:
        item.is_waited_for = True
        try:
            self._changed.wait_for(
                lambda: item.is_sent or item.error is not None or bool(self._away), self._waits.step_s
            )
        finally:
            item.is_waited_for = False
        if item.error is not None:
            raise item.error
        if not item.is_sent:
            if not self._away:
                self._fall_behind(f"no answer within {self._waits.step_s:g} s")
            self._keep_all()
            item.write = None

    def _make_room(self, write: Write) -> None:
        """Wait while the disk holds all that it may; the end of a run and its tags always fit."""
        if not self._away or write.kind in ("end", "tags"):
            return
        need, most = disk.size_of(write), self._waits.most_bytes
        if self._spool.size_bytes + need <= most:
            return
        limit = 0.0 if self._has_given_up else self._waits.patience_s
        logger.warning(
            "run %s waits up to %.0f s: %s, as much as training.spool_mb allows",
            *(self._owner.run_id, limit, self._left()),
        )
        has_room = self._changed.wait_for(
            lambda: not self._away or self._spool.size_bytes + need <= most, limit
        )
        if not has_room:
            self._has_given_up = True
            raise ServerAwayError(
                f"run {self._owner.run_id} ends here: {self._left()}, as much as training.spool_mb allows; nothing "
                "of it is lost: once the server is back, `d2n doctor --replay` sends it, and --resume goes on from "
                "the last checkpoint"
            )

    def _keep(self, item: _Item) -> None:
        if item.write is None or item.number is not None:
            return
        began = journal.now()
        item.number = self._spool.add(item.write, self._owner)
        self._unsynced.append(item.number)
        if item.write.kind == "metrics":
            points = [[key, step] for key, _, _, step, _ in item.write.data["points"]]
            journal.note("kept", began, run=self._owner.run_id, points=points)
        if not item.is_waited_for:
            item.write = None

    def _keep_all(self) -> None:
        """Everything that waits, in order."""
        for item in self._items:
            self._keep(item)

    def _fall_behind(self, reason: str) -> None:
        is_new, self._away = not self._away, reason
        if is_new and time.monotonic() - self._said_at > _SAID_AGAIN_S:
            self._said_at = time.monotonic()
            logger.warning(
                "tracking server %s does not answer (%s): the training goes on, and what it logs is kept in %s (up to "
                "%.0f MB) until the server is back; start it again, at the latest `d2n doctor --replay` sends it",
                *(self._store.display_uri, reason, self._spool.folder, self._waits.most_bytes / 2**20),
            )
        self._changed.notify_all()

    def _left(self) -> str:
        what = f"{len(self._items)} batches of it are kept in {self._spool.folder}"
        return f"tracking server {self._store.display_uri} does not answer ({self._away or 'busy'}), {what}"

    def _raise_refused(self) -> None:
        if (error := self._refused) is not None:
            self._refused = None
            raise error

    def _run(self) -> None:
        while candidates := self._next():
            batch = self._fitting(candidates)
            try:
                try:
                    self._send(batch)
                except Exception as error:  # noqa: BLE001 - told to whoever logs, or tried again
                    self._failed(batch, error)
                else:
                    self._sent(batch)
            except OSError as error:
                # of this machine's disk: what was sent is looked for before it is sent again
                with self._changed:
                    self._try_later(batch, first_line(error))

    def _next(self) -> list[_Item]:
        """What may go next, once it is time; [] at the end. Meanwhile what was kept is made to outlive a power cut."""
        while True:
            with self._changed:
                while not self._unsynced:
                    pause = self._next_try - time.monotonic()
                    if self._is_stopping:
                        return []
                    if self._items and pause <= 0:
                        return list(
                            itertools.islice(self._items, 1 if self._one_by_one else writes.MOST_METRICS)
                        )
                    self._changed.wait(pause if self._items else None)
            self._sync()

    def _sync(self) -> None:
        """Without the lock: nobody who logs waits for it."""
        numbers, self._unsynced = self._unsynced, []
        with contextlib.suppress(OSError):  # a disk that cannot: it is no worse than before
            self._spool.sync(numbers)

    def _fitting(self, candidates: list[_Item]) -> list[_Item]:
        """Those that go in one call."""
        try:
            return candidates[: writes.fitting(self._read(item) for item in candidates)]
        except (TrackingError, OSError):  # a damaged file is told of when it is its turn
            return candidates[:1]

    def _read(self, item: _Item) -> Write:
        write = item.write  # whoever keeps it on disk lets go of it at any moment
        return write if write is not None else self._spool.read(item.number or 0)

    def _send(self, batch: list[_Item]) -> None:
        client, run_id = self._store.client, self._owner.run_id
        write = writes.joined([self._read(item) for item in batch])
        known = self._known if any(item.tries for item in batch) else None

        def send() -> None:
            if self._away:  # others see that the run lives, and a small question comes first
                client.set_tag(run_id, names.HEARTBEAT, environment.heartbeat())
            write.perform(client, run_id, known)

        answered(send, self._store.uri)

    def _failed(self, batch: list[_Item], error: Exception) -> None:
        secrets.scrub_error(error)
        with self._changed:
            if self._is_over:
                return
            if self._is_lasting(batch, error):
                self._refuse(batch, error)
            else:
                self._try_later(batch, brief(error))

    def _try_later(self, batch: list[_Item], reason: str) -> None:
        self._known = {}
        for item in batch:
            item.tries += 1
        self._next_try = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._waits.pause_s)
        self._fall_behind(reason)

    def _refuse(self, batch: list[_Item], error: Exception) -> None:
        """Whoever waits for it is told; what was kept goes aside, and the next who logs is told."""
        if len(batch) > 1:
            self._one_by_one = len(batch)
            return
        item = self._items.popleft()
        self._one_by_one = max(0, self._one_by_one - 1)
        worded = self._worded(error)
        if item.is_waited_for:
            item.error = worded
            if item.number is not None:
                self._spool.drop(item.number)
        else:
            self._keep(item)
            where = self._spool.refuse(item.number or 0, str(worded))
            self._refused = TrackingError(
                f"run {self._owner.run_id}: what was logged while the tracking server was away is refused by it "
                f"({worded}); it is kept in {where}"
            )
        self._end_if_caught_up()

    def _sent(self, batch: list[_Item]) -> None:
        if self._is_over:
            return
        for item in batch:
            if item.number is not None:
                self._spool.remove_files(item.number)  # without the lock: nobody who logs waits for it
        with self._changed:
            if self._is_over:
                return
            for item in batch:
                self._items.popleft()
                item.is_sent = True
                if item.number is not None:
                    self._spool.drop(item.number)
                self._one_by_one = max(0, self._one_by_one - 1)
            self._num_sent += len(batch)
            self._has_given_up, self._pause_s = False, self._first_pause_s
            self._end_if_caught_up()

    def _end_if_caught_up(self) -> None:
        if not self._items and self._away:
            words = "tracking server %s is back and has all of run %s"
            logger.info(words, self._store.display_uri, self._owner.run_id)
            self._away, self._known = "", {}
        self._changed.notify_all()

    def _is_lasting(self, batch: list[_Item], error: Exception) -> bool:
        """Of a file that went while it was sent the disk has a copy by now, unless it is that one."""
        if (place := getattr(error, "filename", None)) is not None:
            is_own = str(place).startswith(str(self._spool.folder))
            return is_own or any(item.number is None for item in batch)
        return isinstance(error, D2NError) or is_lasting(error, self._store.uri)

    def _worded(self, error: Exception) -> Exception:
        """In one line what the server said; an error of the program, or of this machine's files, as it is."""
        is_own = isinstance(error, D2NError) or is_bug(error) or getattr(error, "filename", None) is not None
        return error if is_own else TrackingError(describe(error, self._store.uri))
