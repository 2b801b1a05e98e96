"""Who may be promoted: the finished runs of a data set by setting and seed, and why the others may not."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from d2n import promotion, shipped
from d2n.config import MACHINE_KNOBS, ROUNDING_KNOBS, decisive
from d2n.core import Score, require_one_protocol
from d2n.errors import D2NError, RegistryError
from d2n.promotion import Candidate, LeftOut
from d2n.tracking import names, records
from d2n.translators.alarms import MEANINGS

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

_FREE = {"name", "preset", "seed", "score_protocol", *MACHINE_KNOBS, *ROUNDING_KNOBS}
# Knobs that came later, by the value that says what runs without them did: both are one setting.
_LATER = {"dataset.source": "day", "dataset.target": "night", "dataset.domains": "[]"}
DAY_TO_NIGHT = ("day", "night")


@dataclass(frozen=True)
class Entry:
    """A run that can be promoted."""

    record: RunRecord
    validation: Score
    setting: str  # what its seeds share
    seed: int | None

    def candidate(self, score: Score, name: str = "") -> Candidate:
        """It with its test score."""
        return Candidate(
            run_id=self.record.run_id,
            method=self.record.method or "unknown",
            score=score,
            validation=self.validation,
            dataset_digest=self.record.dataset_digest,
            model_id=self.record.logged_model,
            study=self.record.study,
            name=name,
            seed=self.seed,
            setting=self.setting,
        )


@dataclass
class Field:
    """The runs of a data set that may be promoted, and those that may not."""

    entries: list[Entry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, record: RunRecord, reason: str) -> None:
        """One that may not, and why."""
        self.left_out.append(LeftOut(bare(record), reason))

    def settings(self) -> dict[str, list[Entry]]:
        """The entries by setting, each seed once."""
        groups: dict[str, dict[str, Entry]] = {}
        for entry in sorted(self.entries, key=lambda e: (_rank(e.validation), e.record.run_id)):
            seed = str(entry.seed) if entry.seed is not None else entry.record.run_id
            groups.setdefault(entry.setting, {}).setdefault(seed, entry)
        return {setting: list(seeds.values()) for setting, seeds in groups.items()}

    def best(self, count: int, besides: str = "") -> list[str]:
        """The best settings by the mean of their seeds' validation scores."""
        groups = {key: group for key, group in self.settings().items() if key != besides}
        means = {key: validation_mean(group) for key, group in groups.items()}
        return sorted(groups, key=lambda key: (means[key], groups[key][0].record.run_id))[:count]


def gather(
    store: Store,
    dataset: str,
    protocol: str | None,
    refuse_alarms: Sequence[str],
    vetoed: dict[str, str],
    direction: tuple[str, str] = DAY_TO_NIGHT,
) -> Field:
    """Finished runs with a generator; those that were vetoed, are unreadable or stand under an alarm left out."""
    found = Field()
    on_the_way: dict[str, list[str]] = {}
    for record in _finished(store, dataset, protocol, direction):
        try:
            entry = entry_of(record)
        except records.UnreadableError as error:
            found.leave_out(record, str(error))
            continue
        standing, passed = alarms(store, record)
        refused = [name for name in standing if name in refuse_alarms]
        if record.run_id in vetoed:
            found.leave_out(record, f"it was vetoed: {vetoed[record.run_id]}")
        elif refused:
            meant = ", ".join(f"{name} ({MEANINGS[name]})" for name in refused)
            found.leave_out(
                record,
                f"alarm at its checkpoint: {meant}; look at its samples, and where that is right "
                "`--set refuse_alarms=[]` lets it take part",
            )
        else:
            found.entries.append(entry)
            label = entry.candidate(entry.validation).label
            if standing:
                found.notes.append(f"alarm at the checkpoint of {label}: {', '.join(standing)}")
            if passed:
                on_the_way.setdefault(", ".join(passed), []).append(label)
    passing = [f"{what} of {', '.join(labels)}" for what, labels in on_the_way.items()]
    found.notes += [f"alarms that passed on the way: {what}" for what in passing]
    require_one_protocol([entry.validation.protocol for entry in found.entries], "promote between")
    return found


def entry_of(record: RunRecord) -> Entry:
    """A run as an entry; UnreadableError where its tags do not say what they should."""
    records.require_knobs(record)
    best = records.require_best_score(record)
    seed = record.params.get("seed", "")
    return Entry(
        record,
        Score(best.name, best.value, records.require_protocol(record)),
        setting_of(record),
        int(seed) if seed.isdecimal() else None,
    )


def bare(record: RunRecord) -> Candidate:
    """A run without a score that could be read."""
    return Candidate(record.run_id, record.method or "run", Score("score", math.nan))


def setting_of(record: RunRecord) -> str:
    """What runs share that differ in their seed alone: all other knobs that change what is found, and the data."""
    knobs = {
        k: decisive(k, v) for k, v in record.params.items() if k not in _FREE and not k.startswith("search/")
    }
    knobs = {k: v for k, v in knobs.items() if _LATER.get(k) != v}
    text = json.dumps([knobs, record.dataset_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def validation_mean(entries: Iterable[Entry]) -> float:
    """Mean of the seeds' validation scores, the smaller the better; inf where one is not finite."""
    ranks = [_rank(entry.validation) for entry in entries]
    return sum(ranks) / len(ranks)


def alarms(store: Store, record: RunRecord) -> tuple[list[str], list[str]]:
    """(those that stand at the chosen checkpoint, those that only passed), by name."""
    if not record.alarms:
        return [], []
    best = records.best_score(record)
    standing, passed = [], []
    for name in MEANINGS:
        history = store.metric_history(record.run_id, names.alarm(name))
        until = [value for step, value in history if best is None or best.step is None or step <= best.step]
        if until and until[-1] > 0:
            standing.append(name)
        elif any(value > 0 for _, value in history):
            passed.append(name)
    return standing, passed


def with_seeds_of(entry: Entry, others: Iterable[Entry]) -> list[Entry]:
    """The entry, and the other seeds of its setting."""
    seeds = {entry.seed}
    found = [entry]
    for other in others:
        if other.setting == entry.setting and other.seed not in seeds:
            seeds.add(other.seed)
            found.append(replace(other))
    return found


def _rank(score: Score) -> float:
    value = score.value if promotion.lower_is_better(score.name) else -score.value
    return value if math.isfinite(value) else math.inf


def direction_of(record: RunRecord) -> tuple[str, str]:
    """What a run translates to what; runs of earlier releases say nothing and are by day and by night."""
    return record.params.get("dataset.source", "day"), record.params.get("dataset.target", "night")


def named(store: Store, text: str) -> tuple[str, tuple[str, str] | None]:
    """(data set, direction) of what was asked for: ``toycity``, or ``toycity.dusk-night`` as it is registered."""
    known = store.datasets()
    for dataset in () if text in known else known:
        if text.startswith(f"{dataset}."):
            runs = store.find_runs(experiment=names.experiment(dataset), tags={names.KIND: "translation"})
            for direction in {direction_of(record) for record in runs}:
                if names.generator_model(dataset, *direction) == names.generator_model(text):
                    return dataset, direction
    return text, None


def _finished(
    store: Store, dataset: str, protocol: str | None, direction: tuple[str, str]
) -> list[RunRecord]:
    tags = {names.KIND: "translation", names.DATASET: dataset}
    found = store.find_runs(experiment=names.experiment(dataset), tags=tags, status="FINISHED")
    usable = [record for record in found if record.logged_model]
    if not usable:
        raise D2NError(_none_at_all(store, dataset))
    directions = {direction_of(record) for record in usable}
    if direction not in directions:
        found_ones = ", ".join(sorted(" to ".join(one) for one in directions))
        raise D2NError(
            f"no finished translation run of {dataset} goes from {' to '.join(direction)} (found: {found_ones}); "
            "choose with --set source=… --set target=…, or train one"
        )
    usable = [record for record in usable if direction_of(record) == direction]
    if protocol is None:
        return usable
    kept = [record for record in usable if record.protocol == protocol]
    if not kept:
        known = sorted({record.protocol or "none" for record in usable})
        raise RegistryError(
            f"no finished translation run of {dataset} was scored under protocol {protocol!r:.60}; expected one of: "
            f"{', '.join(known)}"
        )
    return kept


def _none_at_all(store: Store, dataset: str) -> str:
    shipped_one = f"cyclegan_{dataset}"
    make = f"with `d2n train` or `d2n search` and an experiment whose dataset.name is {dataset}"
    if shipped_one in shipped.names("experiments"):
        make = f"with `d2n train {shipped_one}` or `d2n search {shipped_one}`"
    others = [name for name in store.datasets() if name != dataset]
    known = f" (data sets with runs there: {', '.join(others)})" if others else ""
    return f"no finished translation run of {dataset} with a generator in {store.display_uri}{known}; make one {make}"
