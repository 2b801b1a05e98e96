"""How the aliases of a registered model moved, and what was decided: its history, which is a chain.

One tag of the model is one record: a move of a main alias with those that go along (the seeds of a champion, the
former champion), or a decision to keep. A record is written as intended, the aliases move, the main one last, and
the record is done: whatever is killed in between, ``settle`` finds where the main alias is and ends it either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from d2n import secrets
from d2n.errors import RegistryError
from d2n.files import journal
from d2n.files.reading import brief
from d2n.tracking import names, registered
from d2n.tracking.connection import Connection
from d2n.tracking.registry_lock import exclusive

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_LONGEST_REASON = 1500  # a database keeps 5000 characters of a tag
State = Literal["intended", "done", "void"]
HAND = "hand"


@dataclass(frozen=True)
class AliasMove:
    """One move of one alias."""

    alias: str
    at: datetime
    version: str  # '' where the alias was taken away
    former: str | None
    reason: str
    by: str = ""  # promote, rollback, veto, doctor, hand; '' before that was recorded


@dataclass(frozen=True)
class Record:
    """One tag: a main alias's move with those that go along; of a decision to keep, no move."""

    alias: str  # '' of a decision to keep
    at: datetime
    version: str
    former: str | None
    reason: str
    state: State = "done"
    by: str = ""
    run_id: str = ""  # of the promotion's run
    also: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)  # alias → (former, version)

    @property
    def tag(self) -> str:
        """Where it is kept."""
        stamp = self.at.strftime(_STAMP)
        return names.alias_move(self.alias, stamp) if self.alias else names.kept(stamp)

    @property
    def moves(self) -> tuple[AliasMove, ...]:
        """The moves in it, the main one last."""
        each = [*self.also.items(), *([(self.alias, (self.former, self.version))] if self.alias else [])]
        return tuple(
            AliasMove(alias, self.at, version, former, self.reason, self.by)
            for alias, (former, version) in each
            if (former or "") != version
        )


def records(store: Connection, name: str) -> list[Record]:
    """Everything written down of a model, oldest first; what cannot be read is left out."""
    return _records(registered.model(store, name).tags)


def alias_history(store: Connection, name: str, alias: str | None = None) -> list[AliasMove]:
    """The moves of one alias, or of all, oldest first; those that cannot be read are left out."""
    return _done_moves(records(store, name), alias)


def unreadable_moves(store: Connection, name: str) -> list[str]:
    """Tags of a model that are records by their name, and hold something else."""
    tags = registered.model(store, name).tags
    return sorted(tag for tag, value in tags.items() if _is_record(tag) and _record(tag, value) is None)


def move(
    store: Connection,
    name: str,
    aliases: Mapping[str, str],
    *,
    main: str,
    reason: str,
    by: str = "",
    run_id: str = "",
) -> Record | None:
    """Move aliases together to the versions given ('' takes one away), the main one last; None where all are there.

    What was left half-done is settled first, and what was moved by hand written down.
    """
    with exclusive(store, name) as held:
        settle(store, name)
        found = registered.model(store, name)
        now = {alias: str(version) for alias, version in found.aliases.items()}
        former = {alias: now.get(alias) for alias in aliases}
        others = {
            alias: (former[alias], version)
            for alias, version in aliases.items()
            if alias != main and (former[alias] or "") != version
        }
        if not others and (former[main] or "") == aliases[main]:
            return None
        at = _later(_records(found.tags))
        record = Record(main, at, aliases[main], former[main], reason, "intended", by, run_id, others)
        _write(store, name, record)
        held.require()
        for alias, (_, version) in others.items():
            _put(store, name, alias, version)
        if (former[main] or "") != aliases[main]:
            _put(store, name, main, aliases[main])
        _write(store, name, replace(record, state="done"))
        return replace(record, state="done")


def record_kept(store: Connection, name: str, version: str, reason: str, run_id: str = "") -> Record:
    """Write down that the champion was kept."""
    with exclusive(store, name):
        settle(store, name)
        record = Record("", _later(records(store, name)), version, version, reason, "done", "promote", run_id)
        _write(store, name, record)
        return record


def record_move(
    store: Connection,
    name: str,
    alias: str,
    version: str,
    former: str | None,
    reason: str,
    by: str = "doctor",
) -> None:
    """Write down a move that was made: one tag a move, so that two writers lose nothing. '' is no version."""
    _write(store, name, Record(alias, _later(records(store, name)), version, former, reason, "done", by))


def settle(store: Connection, name: str) -> list[str]:
    """End what was left half-done, and write down what was moved by hand; a line for each.

    A move whose main alias arrived is done, and the others follow it; one whose main alias did not move is void, and
    the others go back.
    """
    with exclusive(store, name):
        found = registered.model(store, name)
        _refuse_later(name, found.tags)
        known = _records(found.tags)
        now = {alias: str(version) for alias, version in found.aliases.items()}
        there = {str(version.version) for version in store.call(registered.model_versions, store, name)}
        lines = [_end(store, name, one, now, there) for one in known if one.state == "intended"]
        if lines:
            known = records(store, name)
        return lines + _write_hand_moves(store, name, known, now)


def intended(tags: Mapping[str, str]) -> list[Record]:
    """Records by the tags of a model that were begun and never ended."""
    return [record for record in _records(tags) if record.state == "intended"]


def said(known: Iterable[Record]) -> dict[str, str]:
    """Alias → the version that its last move led to; '' for none."""
    return {one.alias: one.version for one in _done_moves(known)}


def timeline(known: Iterable[Record], now: Mapping[str, str]) -> list[Record]:
    """Records in order, with what was moved by hand between them: such a one says by hand, and who found it where.

    ``now`` is alias → version at present.
    """
    shown: list[Record] = []
    last: dict[str, str] = {}
    at = datetime.now(UTC)
    for record in sorted(known, key=lambda one: one.at):
        at = record.at
        for one in record.moves if record.state == "done" else ():
            before = last.get(one.alias)
            if (before is not None or one.former) and (one.former or "") != (before or ""):
                shown.append(_by_hand(one.alias, at, one.former or "", before, "found by the next move"))
            last[one.alias] = one.version
        shown.append(record)
    for alias in sorted({*last, *now}):
        if now.get(alias, "") != last.get(alias, ""):
            words = "no record says so"
            shown.append(_by_hand(alias, at, now.get(alias, ""), last.get(alias), words))
    return shown


def champions(known: Iterable[Record]) -> list[Record]:
    """The moves that made the present champion and those before it, oldest first, without what was rolled back."""
    stack: list[Record] = []
    for record in known:
        if record.state != "done" or record.alias != names.CHAMPION or record.version == record.former:
            continue
        if record.by in ("rollback", "veto"):
            while stack and stack[-1].version != record.version:
                stack.pop()
        stack = [one for one in stack if one.version != record.version]
        if record.version:
            stack.append(record)
    return stack


def _by_hand(alias: str, at: datetime, version: str, former: str | None, words: str) -> Record:
    return Record(alias, at, version, former, f"moved by hand: {words}", "done", HAND)


def _end(store: Connection, name: str, record: Record, now: dict[str, str], there: set[str]) -> str:
    arrived = now.get(record.alias, "") == record.version
    for alias, (former, version) in record.also.items():
        wanted = version if arrived else (former or "")
        is_ours = now.get(alias, "") in (version, former or "")
        if is_ours and now.get(alias, "") != wanted and (not wanted or wanted in there):
            _put(store, name, alias, wanted)
            now[alias] = wanted
    _write(store, name, replace(record, state="done" if arrived else "void"))
    if not arrived and record.run_id:
        store.call(store.client.set_tag, record.run_id, names.PROMOTION_STATE, "void")
    to = f"version {record.version}" if record.version else "no version"
    if arrived:
        return f"{name}@{record.alias} had moved to {to}: its record is done now"
    return f"{name}@{record.alias} was about to move to {to} and did not: its record is void"


def _write_hand_moves(store: Connection, name: str, known: list[Record], now: Mapping[str, str]) -> list[str]:
    lines, last = [], said(known)
    for alias in sorted({*last, *now}):
        there, before = now.get(alias, ""), last.get(alias, "")
        if there != before:
            record = _by_hand(alias, _later(known), there, before or None, "no record said so")
            _write(store, name, record)
            known = [*known, record]
            lines.append(
                f"{name}@{alias} was moved by hand to {f'version {there}' if there else 'no version'}"
            )
    return lines


def _put(store: Connection, name: str, alias: str, version: str) -> None:
    began = journal.now()
    if version:
        store.call(store.client.set_registered_model_alias, name, alias, version)
    else:
        store.call(store.client.delete_registered_model_alias, name, alias)
    journal.note("alias", began, model=name, alias=alias, version=version)


def _write(store: Connection, name: str, record: Record) -> None:
    values: dict[str, Any] = {
        "version": record.version,
        "former": record.former,
        "reason": secrets.scrub_urls(record.reason)[:_LONGEST_REASON],
        "state": record.state,
        "by": record.by,
        **({"run": record.run_id} if record.run_id else {}),
        **({"also": {alias: list(pair) for alias, pair in record.also.items()}} if record.also else {}),
    }
    text = json.dumps(values, ensure_ascii=False)
    began = journal.now()
    store.call(store.client.set_registered_model_tag, name, record.tag, text)
    leads = {record.alias: record.version, **{alias: pair[1] for alias, pair in record.also.items()}}
    journal.note("record", began, model=name, tag=record.tag, state=record.state, leads=leads)


def _later(known: Iterable[Record]) -> datetime:
    """Now, and after every record: clocks of machines differ, a chain has an order."""
    last = max((record.at for record in known), default=None)
    now = datetime.now(UTC)
    return now if last is None or now > last else last + timedelta(microseconds=1)


def _done_moves(known: Iterable[Record], alias: str | None = None) -> list[AliasMove]:
    done = sorted((r for r in known if r.state == "done"), key=lambda record: record.at)
    return [one for record in done for one in record.moves if alias in (None, one.alias)]


def _records(tags: Mapping[str, str]) -> list[Record]:
    found = [_record(tag, value) for tag, value in tags.items() if _is_record(tag)]
    return sorted((record for record in found if record is not None), key=lambda record: record.at)


def _refuse_later(name: str, tags: Mapping[str, str]) -> None:
    """RegistryError where a record is in a state that this d2n does not know: moving on would break its chain."""
    for tag, value in sorted(tags.items()):
        try:
            read = json.loads(value) if _is_record(tag) else None
        except (ValueError, RecursionError):
            continue
        state = read.get("state", "done") if isinstance(read, dict) else "done"
        if state not in get_args(State):
            raise RegistryError(
                f"{name} has a record of a later d2n ({tag} is {brief(state)}, expected {', '.join(get_args(State))}): "
                "nothing was moved; pip install -U d2n, then give the same command again"
            )


def _is_record(tag: str) -> bool:
    return names.alias_of_move(tag) is not None or names.stamp_of_kept(tag) is not None


def _record(tag: str, value: str) -> Record | None:
    """The record in a tag; None where it cannot be read."""
    alias, stamp = names.alias_of_move(tag) or ("", names.stamp_of_kept(tag) or "")
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        data = json.loads(value)
        also = {
            str(other): (None if pair[0] is None else str(pair[0]), str(pair[1]))
            for other, pair in data.get("also", {}).items()
        }
        state = data.get("state", "done")
        if state not in get_args(State):
            return None
        former = data.get("former")
        return Record(
            alias,
            at,
            str(data["version"]),
            None if former is None else str(former),
            str(data.get("reason", "")),
            state,
            str(data.get("by", "")),
            str(data.get("run", "")),
            also,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
