"""One decision: the candidates scored and bounded, ranked, compared with the champion, and the budget told."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from d2n import promotion
from d2n.config import PromotionConfig
from d2n.core import Score, require_one_protocol
from d2n.errors import D2NError, DataError, RegistryError, WeightsError
from d2n.promotion import Candidate, Comparison, Constraint, LeftOut, Metric
from d2n.tracking import budget
from d2n.tracking.runs import RunRecord
from d2n.workflows.promote import comparison as comparing
from d2n.workflows.promote.field import Entry
from d2n.workflows.promote.maps import Maps
from d2n.workflows.promote.measuring import Gauge, lost

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
_UNLOADABLE = (RegistryError, DataError, WeightsError)


@dataclass(frozen=True)
class Champion:
    """The present champion: its version's name, and the seeds of its setting, itself first."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def run_id(self) -> str:
        """Of the generator itself."""
        return self.entries[0].record.run_id


class Deciding:
    """What one decision needs, and the decision."""

    def __init__(
        self,
        store: Store,
        dataset: str,
        rule: PromotionConfig,
        entries: Sequence[Entry],
        champion: Champion | None,
        gauge: Gauge | None = None,
    ) -> None:
        self.store, self.dataset, self.rule, self.champion = store, dataset, rule, champion
        own = {entry.record.run_id for entry in champion.entries} if champion else set()
        self.entries = {
            entry.record.run_id: entry for entry in (*(champion.entries if champion else ()), *entries)
        }
        self.metrics = promotion.parse_metrics(rule.metric) or self._own_metric(entries, champion)
        self.constraints = promotion.parse_constraints(rule.constraints)
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self._champions = own
        first = next(iter(self.entries.values()))
        by_images = tuple(m for m in self._wanted() if not m.is_map)
        self.gauge = gauge
        if gauge is None and by_images:
            self.gauge = Gauge(store, first.record, by_images, rule.resamples)
        self._maps = {m.name: Maps(store, m.name) for m in self._wanted() if m.is_map}

    def decide(self) -> promotion.Decision:
        """The decision; the use of the test images is recorded before they compare."""
        candidates = self._candidates()
        champion = self._scored_champion()
        scores = [c.score for c in (*candidates, *([champion] if champion else []))]
        require_one_protocol([score.protocol for score in scores], "promote between")
        groups = self._groups(candidates)
        order: tuple[str, ...] = ()
        found: Comparison | None = None
        if champion is None:
            self._record(candidates, "", -1)
            order = self._order_by_published(candidates, groups)
        elif groups:
            order, found = self._compare(candidates, groups, champion)
        self._say_use(champion)
        return promotion.decide(
            candidates if champion is None or groups else [champion],
            champion,
            self.rule.min_gain,
            accept_noise=self.rule.accept_noise,
            dataset=self.dataset,
            found=promotion.Found(tuple(order), found, tuple(self.left_out), tuple(self.notes)),
        )

    def _own_metric(self, entries: Sequence[Entry], champion: Champion | None) -> tuple[Metric, ...]:
        """The first score of the runs; D2NError where they have different ones."""
        everyone = [*entries, *(champion.entries if champion else ())]
        found = sorted({entry.validation.name.split(".")[0] for entry in everyone})
        if len(found) > 1:
            raise D2NError(
                f"the runs were chosen by different scores, {' and '.join(found[:2])}; name what decides: "
                f"--metric {found[0]}"
            )
        return (Metric(found[0]),)

    def _wanted(self) -> tuple[Metric, ...]:
        bounds = [Metric(c.name) for c in self.constraints if c.name not in {m.name for m in self.metrics}]
        return (*self.metrics, *{metric.name: metric for metric in bounds}.values())

    def _candidates(self) -> list[Candidate]:
        """Those that load, have a score and keep the bounds; the champion is judged by its score alone."""
        kept = []
        for run_id, entry in self.entries.items():
            candidate, reason = self._scored(entry)
            if not reason and run_id not in self._champions:
                reason = promotion.unusable(candidate.score) or self._beyond(entry)
            if reason:
                self.left_out.append(LeftOut(candidate, reason))
            else:
                kept.append(candidate)
        return kept

    def _scored(self, entry: Entry) -> tuple[Candidate, str]:
        name = self.metrics[0].name
        empty = entry.candidate(Score(name, math.nan))
        problem = self.gauge.lost(entry.record) if self.gauge else lost(self.store, entry.record)
        if problem:
            return empty, f"its generator does not load: {problem}"
        try:
            score = self._value(entry.record, name)
        except _UNLOADABLE as error:
            return empty, f"its generator cannot be read: {error}"
        if score is None:
            return empty, (
                f"no finished retrieval run used it, so its {name} is not known; "
                f"`d2n retrieve EXPERIMENT --set night.generator={entry.record.run_id}` measures it"
            )
        return entry.candidate(score), ""

    def _value(self, record: RunRecord, name: str) -> Score | None:
        if name in self._maps:
            found = self._maps[name].of(record)
            return found[0] if found else None
        assert self.gauge is not None  # noqa: S101 - made for every score that is no mAP
        return self.gauge.published(record, name)

    def _beyond(self, entry: Entry) -> str:
        for bound in self.constraints:
            found = self._value(entry.record, bound.name)
            if found is None:
                return (
                    f"its {bound.name} is not known, and must be {bound}: no finished retrieval run used it"
                )
            if not bound.holds(found.value):
                return f"its {bound.name} is {found.value:.4g}, and must be {_bound(bound)}"
        return ""

    def _scored_champion(self) -> Candidate | None:
        if self.champion is None:
            return None
        gone = next((x for x in self.left_out if x.candidate.run_id == self.champion.run_id), None)
        if gone is not None and self.metrics[0].is_map:
            raise D2NError(f"the champion {self.champion.name} cannot be compared: {gone.reason}")
        if gone is not None:
            self.notes.append(f"the champion {self.champion.name} is no longer there: {gone.reason}")
            return None
        entry = self.champion.entries[0]
        return replace(self._scored(entry)[0], name=self.champion.name)

    def _groups(self, candidates: Sequence[Candidate]) -> dict[str, list[RunRecord]]:
        """The settings that may challenge, their seeds' runs."""
        groups: dict[str, list[RunRecord]] = {}
        own = self.champion.entries[0].setting if self.champion else None
        for candidate in candidates:
            if candidate.setting != own or self._scored_champion_lost():
                groups.setdefault(candidate.setting, []).append(self.entries[candidate.run_id].record)
        return groups

    def _scored_champion_lost(self) -> bool:
        return any(self.champion and x.candidate.run_id == self.champion.run_id for x in self.left_out)

    def _order_by_published(
        self, candidates: Sequence[Candidate], groups: Mapping[str, Sequence[RunRecord]]
    ) -> tuple[str, ...]:
        if len(self.metrics) == 1 or self.gauge is None:
            return ()
        split = promotion.split(self.gauge.keys, 0, 1, 1)
        whole = replace(split, ranking=split.compared)
        return tuple(comparing.ranked(self.gauge, self.metrics, groups, whole))

    def _compare(
        self, candidates: Sequence[Candidate], groups: Mapping[str, Sequence[RunRecord]], champion: Candidate
    ) -> tuple[tuple[str, ...], Comparison]:
        by_run = {candidate.run_id: candidate for candidate in candidates}
        own = [by_run[e.record.run_id] for e in self._champion_entries() if e.record.run_id in by_run]
        champions = [self.entries[c.run_id].record for c in own]
        if self.metrics[0].is_map:
            maps = self._maps[self.metrics[0].name]
            means = {k: sum(by_run[r.run_id].score.value for r in g) / len(g) for k, g in groups.items()}
            order = tuple(sorted(means, key=lambda key: (-means[key], key)))
            sides = (groups[order[0]], champions)
            return order, comparing.on_maps(maps, self.metrics[0].name, sides, self.rule.level, len(order))
        assert self.gauge is not None  # noqa: S101 - made for every score that is no mAP
        keys = self.gauge.keys
        turn = self._turn(candidates, champion)
        split = promotion.split(keys, turn, self.rule.parts, self.rule.min_images)
        self._record(candidates, champion.run_id, turn)
        if split.parts > 1:
            order = tuple(comparing.ranked(self.gauge, self.metrics, groups, split))
        else:
            self.notes.append(
                f"the test split has {len(keys)} images a side, and {2 * self.rule.min_images} make two parts of "
                f"min_images {self.rule.min_images}: none is reserved, validation alone ranked, and all compared"
            )
            best = {key: self._validation(group) for key, group in groups.items()}
            order = tuple(sorted(best, key=lambda key: (best[key], key)))
        others = [groups[key] for key in order[1:]]
        everyone = (groups[order[0]], champions, *others)
        return order, comparing.on_images(self.gauge, self.metrics, everyone, split, self.rule.level)

    def _champion_entries(self) -> tuple[Entry, ...]:
        return self.champion.entries if self.champion else ()

    def _validation(self, group: Sequence[RunRecord]) -> float:
        scores = [self.entries[record.run_id].validation for record in group]
        signed = [s.value if promotion.lower_is_better(s.name) else -s.value for s in scores]
        return sum(signed) / len(signed)

    def _key(self, candidates: Sequence[Candidate], champion: str) -> str:
        asked = [sorted(c.run_id for c in candidates), champion, [[m.name, m.weight] for m in self.metrics]]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def _turn(self, candidates: Sequence[Candidate], champion: Candidate) -> int:
        """The next part; the same question again, such as after --dry-run, meets the same part again."""
        key = self._key(candidates, champion.run_id)
        before, _ = budget.uses(self.store, self.dataset)
        asked = next((use.turn for use in before if use.key == key), None)
        return asked if asked is not None else len({use.key for use in before if use.turn >= 0})

    def _record(self, candidates: Sequence[Candidate], champion: str, turn: int) -> None:
        if self.gauge is not None and not self.metrics[0].is_map:
            protocol = self.gauge.protocol.identity
            use = budget.TestUse(self._key(candidates, champion), turn, protocol)
            budget.record(self.store, self.dataset, use)

    def _say_use(self, champion: Candidate | None) -> None:
        """How often the test images decided, and what that may do to the published score."""
        if self.metrics[0].is_map:
            return
        found, unreadable = budget.uses(self.store, self.dataset)
        compared = len({use.key for use in found if use.turn >= 0}) + len(unreadable)
        if unreadable:
            self.notes.append(
                f"{len(unreadable)} unreadable uses of the test images count: {', '.join(unreadable)}"
            )
        text = (
            f"uses of the test images of {self.dataset} for a decision: {len(found) + len(unreadable)}, different "
            f"comparisons with a champion among them: {compared}"
        )
        if compared:
            settings, parts = self.rule.settings, self.rule.parts
            moves, bias = promotion.reuse_bias(
                compared, level=self.rule.level, parts=parts, settings=settings
            )
            deviation = _deviation(champion.score) if champion else None
            units = f", {bias * deviation:.3g} in its units" if deviation else ""
            text += (
                f"; between equal generators so many move the alias {moves:.2f} times, and the champion's published "
                f"score looks {bias:.2f} of its deviations too good{units} (simulated)"
            )
        self.notes.append(text)


def _bound(bound: Constraint) -> str:
    return f"{bound.sign} {bound.bound:g}"


def _deviation(score: Score) -> float | None:
    if score.std is not None:
        return score.std
    return (score.interval[1] - score.interval[0]) / (2 * 1.96) if score.interval else None
