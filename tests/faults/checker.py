"""Holds a history (d2n/files/journal.py) against what d2n promises: one sentence an anomaly, none where all is kept.

An operation lies between the moments at which it began and was acknowledged. Of two that overlap nothing is said;
only what one did wholly after the other can break a promise.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Operation = Mapping[str, Any]
_OVER = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(frozen=True)
class Found:
    """What is there at the end: states of trials by (study, number), points of runs, aliases of models."""

    trials: Mapping[tuple[str, int], str] = field(default_factory=dict)
    points: Mapping[str, Counter[tuple[str, int]]] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)


def read(path: Path) -> list[Operation]:
    """The operations of a history in the order in which they began; a line that a kill cut short is no operation."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return sorted(found, key=lambda one: float(one["from"]))


def anomalies(
    history: Iterable[Operation], found: Found | None = None, killed: Iterable[int] = ()
) -> list[str]:
    """Every promise that the history, or what is there at the end, breaks. ``killed``: processes of kill -9."""
    operations = list(history)
    dead = set(killed)
    return [
        *_one_owner(operations, dead),
        *_finished_once(operations),
        *_logged_once(operations),
        *_sent_in_the_end(operations, found),
        *_recorded_first(operations, dead),
        *_whole(operations),
        *(_kept(operations, found) if found is not None else ()),
    ]


def _of(operations: list[Operation], what: str) -> list[Operation]:
    return [one for one in operations if one["what"] == what]


def _trial(one: Operation) -> tuple[str, int]:
    return str(one["study"]), int(one["trial"])


def _one_owner(operations: list[Operation], dead: set[int]) -> Iterable[str]:
    """No claim while another holds the trial and lives; no sign of life accepted after another's claim."""
    signs = defaultdict(list)  # of a token: what was accepted of it
    for one in operations:
        if one["what"] in ("claim", "renew", "tell", "end") and one.get("ok", True):
            signs[_trial(one), one["token"]].append(one)
    for claimed in _of(operations, "claim"):
        for (trial, token), each in signs.items():
            if trial != _trial(claimed) or token == claimed["token"]:
                continue
            began = each[0]
            if began["from"] > claimed["from"]:
                continue
            late = [one for one in each if one["from"] > claimed["to"]]
            if late:
                yield f"{trial}: {late[0]['what']} of {token} accepted after the claim of {claimed['token']}"
            before = [one for one in each if one["to"] < claimed["from"]]
            is_over = any(one["what"] == "end" for one in each) or began["pid"] in dead
            if before and not is_over and not late:
                silent_s = claimed["to"] - before[-1]["from"]
                if silent_s < began["lease_s"]:
                    yield f"{trial}: claimed {silent_s:.1f} s after a sign of {token} ({began['lease_s']} s)"


def _finished_once(operations: list[Operation]) -> Iterable[str]:
    told: dict[tuple[str, int], Operation] = {}
    for one in _of(operations, "tell"):
        if not one["ok"] or one["state"] not in _OVER:
            continue
        if (before := told.get(_trial(one))) is not None:
            yield f"{_trial(one)}: told {one['state']} by {one['token']}, and {before['state']} before"
        told.setdefault(_trial(one), one)
    for claimed in _of(operations, "claim"):
        end = told.get(_trial(claimed))
        if end is not None and claimed["from"] > end["to"]:
            yield f"{_trial(claimed)}: claimed again after it was told {end['state']}"


def _logged_once(operations: list[Operation]) -> Iterable[str]:
    seen: Counter[tuple[str, str, int]] = Counter(
        (one["run"], key, step) for one in _of(operations, "metrics") for key, step in one["points"]
    )
    for (run, key, step), times in seen.items():
        if times > 1:
            yield f"run {run}: {key} at step {step} logged {times} times"


def _sent_in_the_end(operations: list[Operation], found: Found | None) -> Iterable[str]:
    """What waited on disk for a server was acknowledged to who logged it: it is sent, and once, or waits still."""
    if found is None:
        return
    for one in _of(operations, "kept"):
        there = found.points.get(one["run"])
        if there is None:
            continue
        for key, step in one["points"]:
            if (times := there[key, step]) != 1:
                yield f"run {one['run']}: {key} at step {step} was kept on disk and is there {times} times"


def _recorded_first(operations: list[Operation], dead: set[int]) -> Iterable[str]:
    """An alias moves after its record was begun; the record is ended unless its process was killed."""
    records = _of(operations, "record")
    for moved in _of(operations, "alias"):
        begun = [
            one
            for one in records
            if one["model"] == moved["model"] and one["state"] == "intended" and one["to"] <= moved["from"]
        ]
        if not any(moved["alias"] in one["leads"] for one in begun):
            yield f"{moved['model']}@{moved['alias']} moved to {moved['version']} without a record"
    for one in records:
        ended = [
            each
            for each in records
            if (each["model"], each["tag"]) == (one["model"], one["tag"]) and each is not one
        ]
        if one["state"] == "intended" and not ended and one["pid"] not in dead:
            yield f"{one['model']}: the record {one['tag']} was never ended"


def _whole(operations: list[Operation]) -> Iterable[str]:
    """The last checkpoint of each path that is still there is what was written."""
    last = {one["path"]: one["sha256"] for one in _of(operations, "checkpoint")}
    for path, wanted in last.items():
        file = Path(path)
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            yield f"{path} is not what was written"


def _kept(operations: list[Operation], found: Found) -> Iterable[str]:
    """What was acknowledged is there."""
    for one in _of(operations, "tell"):
        if one["ok"] and found.trials and found.trials.get(_trial(one)) != one["state"]:
            yield f"{_trial(one)}: told {one['state']}, found {found.trials.get(_trial(one))}"
    for one in _of(operations, "metrics"):
        there = found.points.get(one["run"])
        if there is None:
            continue
        lost = [(key, step) for key, step in one["points"] if not there[key, step]]
        if lost:
            yield f"run {one['run']}: {lost[0][0]} at step {lost[0][1]} was acknowledged and is not there"
    last = {(one["model"], one["alias"]): one for one in _of(operations, "alias")}
    for (model, alias), one in last.items():
        if found.aliases and found.aliases.get((model, alias), "") != one["version"]:
            yield f"{model}@{alias} was moved to {one['version']}, found {found.aliases.get((model, alias))}"
