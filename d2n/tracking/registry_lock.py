"""One process at a time on a registered model, on whatever store it lies: SQLite, PostgreSQL, a server.

Whoever wants in writes a tag of its own on the model, then reads all of them: alone, it is in. Of two that see each
other the one with the smaller token stays, the other takes its tag back and tries again; one that was in before
either of them is waited for. No tag is written by two, so nothing is lost between reading and writing. A holder
whose process is gone, or that gives no sign for a minute, is put aside by whoever waits; it finds out by ``require``.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from d2n.errors import RegistryError, TrackingError
from d2n.files import processes
from d2n.tracking import environment, names, registered
from d2n.tracking.connection import Connection, retried
from d2n.tracking.liveness import beating

logger = logging.getLogger(__name__)
LEASE_S, RENEW_S, WAIT_S = 60.0, 10.0, 1800.0
_RELEASE_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_ours: set[str] = set()  # tokens that this process holds or waits with
_here = threading.local()  # locks of this thread by (store, model)


@dataclass(frozen=True)
class Entry:
    """One holder of a model, or one that waits for it, as its tag says."""

    token: str
    process: Mapping[str, str]  # host, process id, its start and namespace, as on a run
    seen: str  # its last sign, by its own clock

    @property
    def who(self) -> str:
        """In words."""
        return f"process {self.process.get(names.PID, '?')} on {self.process.get(names.HOST, 'a machine')}"


class Held:
    """A model that this thread holds."""

    def __init__(self, store: Connection, name: str, token: str) -> None:
        self._store, self._name, self._token = store, name, token

    def require(self) -> None:
        """RegistryError where another process took over, because this one gave no sign: change nothing then."""
        if names.lock(self._token) not in registered.model(self._store, self._name).tags:
            raise RegistryError(
                f"{self._name}: another process took over, because this one gave no sign for {LEASE_S:.0f} s; "
                "nothing was moved, run the command again"
            )


@contextmanager
def exclusive(store: Connection, name: str, wait_s: float = WAIT_S) -> Iterator[Held]:
    """Inside, no other process or thread is inside for this registered model, which must be there.

    Within one thread it may be entered again. RegistryError where somebody else is in for longer than ``wait_s``.
    """
    mine: dict[tuple[str, str], Held] = _here.__dict__.setdefault("locks", {})
    key = (store.uri, name)
    if key in mine:
        yield mine[key]
        return
    token = uuid.uuid4().hex
    _ours.add(token)
    try:
        _enter(store, name, token, wait_s)
        mine[key] = Held(store, name, token)
        with _signs(store, name, token):
            yield mine[key]
    finally:
        mine.pop(key, None)
        _leave(store, name, token)
        _ours.discard(token)


def entries(tags: Mapping[str, str]) -> list[Entry]:
    """Holders and those who wait, by the tags of a registered model; one that cannot be read names no process."""
    found = []
    for tag, value in sorted(tags.items()):
        if (token := names.token_of_lock(tag)) is not None:
            process = _process(value)
            seen = tags.get(names.lock_seen(token), process.get(names.HEARTBEAT, ""))
            found.append(Entry(token, process, seen))
    return found


def dead_entries(tags: Mapping[str, str]) -> list[Entry]:
    """Those whose process is gone, or whose last sign is long ago by this machine's clock."""

    def is_silent(entry: Entry) -> bool:
        return time.time() - _number(entry.seen) > 5 * LEASE_S

    return [entry for entry in entries(tags) if _is_gone(entry) or is_silent(entry)]


def drop(store: Connection, name: str, token: str) -> None:
    """Take a holder's tags away."""
    store.call(store.client.delete_registered_model_tag, name, names.lock(token))
    store.call(store.client.delete_registered_model_tag, name, names.lock_seen(token))


def _enter(store: Connection, name: str, token: str, wait_s: float) -> None:
    deadline, pause_s, watch = time.monotonic() + wait_s, _FIRST_PAUSE_S, _Watch()
    is_raised = is_told = False
    while True:
        tags = registered.model(store, name).tags
        others = [entry for entry in entries(tags) if entry.token != token]
        others = [entry for entry in others if not _put_aside(store, name, entry, watch)]
        if not others and is_raised and names.lock(token) in tags:
            return
        if not others:
            is_raised = True
            value = json.dumps(environment.process_tags())
            store.call(store.client.set_registered_model_tag, name, names.lock(token), value)
            continue
        if is_raised and any(entry.token < token for entry in others):
            is_raised = False
            drop(store, name, token)
        if time.monotonic() > deadline:
            raise RegistryError(
                f"{name} is held by {others[0].who} for longer than {wait_s:.0f} s: wait for it, or end it first"
            )
        if not is_told and pause_s >= _LONGEST_PAUSE_S:
            logger.warning("waiting for %s, which registers under %s", others[0].who, name)
            is_told = True
        time.sleep(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)


def _put_aside(store: Connection, name: str, entry: Entry, watch: _Watch) -> bool:
    if not _is_gone(entry) and not watch.is_overdue(entry):
        return False
    logger.warning("%s left %s without letting go: put aside", entry.who, name)
    drop(store, name, entry.token)
    return True


def _leave(store: Connection, name: str, token: str) -> None:
    try:
        for tag in (names.lock(token), names.lock_seen(token)):
            retried(_deleting(store, name, tag), store.uri, min(_RELEASE_S, store.retry_s))
    except TrackingError as error:  # the work is done, or has its own error: whoever comes next puts it aside
        logger.warning("%s was not let go of: %s", name, error)


def _deleting(store: Connection, name: str, tag: str) -> Callable[[], None]:
    return lambda: store.client.delete_registered_model_tag(name, tag)


class _Watch:
    """Signs of others as they come in; by this process's clock alone, since clocks of machines differ.

    While the store did not answer nobody could give a sign: that time does not count.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float, float]] = {}

    def is_overdue(self, entry: Entry) -> bool:
        """Whether the sign has been the same for as long as a lease."""
        now = time.monotonic()
        seen, since, looked = self._last.get(entry.token, ("", now, now))
        if seen != entry.seen or now - looked > RENEW_S:
            since = now
        self._last[entry.token] = (entry.seen, since, now)
        return now - since > LEASE_S


@contextmanager
def _signs(store: Connection, name: str, token: str) -> Iterator[None]:
    """Inside, a thread gives signs of life, in a tag apart: one that was put aside does not come back by it."""

    def give() -> None:
        store.client.set_registered_model_tag(name, names.lock_seen(token), environment.heartbeat())

    with beating(store, give, RENEW_S, f"lock-{token[:8]}"):
        yield


def _is_gone(entry: Entry) -> bool:
    """Whether the process ended, or is this one and let go; False of another machine's."""
    process, pid = entry.process, entry.process.get(names.PID, "")
    if process.get(names.PROCESSES) != environment.process_namespace() or not pid.isdecimal():
        return False
    if not processes.lives(int(pid), _number(process.get(names.PROCESS_START, ""))):
        return True
    return int(pid) == os.getpid() and entry.token not in _ours


def _process(text: str) -> dict[str, str]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in read.items()} if isinstance(read, dict) else {}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
