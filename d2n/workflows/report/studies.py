"""A study as its trials' runs tell it: what was searched, what came of it, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d2n.core import ScoreProtocol
from d2n.plots import Span, TrialPoint
from d2n.scores import leading
from d2n.tracking import names, records
from d2n.tracking.records import TrialRecord, of_kind
from d2n.workflows.report.artifacts import number
from d2n.workflows.report.reading import Runs, find, readable, score_base

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

_COMPLETE, _PRUNED = "COMPLETE", "PRUNED"
_STATES = {"FINISHED": _COMPLETE, "KILLED": _PRUNED, "FAILED": "FAIL", "RUNNING": "RUNNING"}
_TWIN = "_log10"  # of a logarithmic dimension's metric


@dataclass(frozen=True)
class Trial:
    """A trial's run and what it cost."""

    point: TrialPoint
    run_id: str
    experiment_id: str
    hours: float | None  # from its start to its end; None: it has not ended
    images: int | None  # day photographs that it trained on, all seeds; None: not known
    num_seeds: int = 1
    energy_wh: float | None = None  # of the machine while it trained, all seeds; None: it could not be read


@dataclass(frozen=True)
class Study:
    """A study as its trials' runs tell it."""

    name: str
    dataset: str
    score: str  # what is shown: the trials' common validation score
    trials: tuple[TrialPoint, ...]
    protocol: ScoreProtocol | None = None  # None: trials of several protocols, or of none
    protocols: int = 1
    rows: tuple[Trial, ...] = ()  # of the same trials, in their order
    log_dims: frozenset[str] = field(default_factory=frozenset)

    def count(self, state: str) -> int:
        """Trials in this state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def hours(self) -> float:
        """Of all trials that ended."""
        return sum(row.hours or 0.0 for row in self.rows)

    @property
    def images(self) -> int | None:
        """Of all trials that tell it; None where none does."""
        known = [row.images for row in self.rows if row.images is not None]
        return sum(known) if known else None

    @property
    def energy_wh(self) -> float | None:
        """Of all trials that tell it; None where none does."""
        known = [row.energy_wh for row in self.rows if row.energy_wh is not None]
        return sum(known) if known else None


def read_studies(store: Store | Runs, dataset: str | None = None) -> list[Study]:
    """Every study that has trials, from its trials' runs."""
    grouped: dict[tuple[str, str], list[RunRecord]] = {}
    seeds: dict[tuple[str, str], list[RunRecord]] = {}
    kinds = ("trial", "translation", "retrieval")
    for record in (record for kind in kinds for record in find(store, kind, dataset)):
        key = record.study, record.dataset
        if TrialRecord.is_one(record):
            grouped.setdefault(key, []).append(record)
        elif names.STUDY in record.tags:
            seeds.setdefault((key[0], record.parent_run), []).append(record)
    made = (_study(name, data, found, seeds) for (name, data), found in sorted(grouped.items()))
    return [study for study in made if study.trials]


def _study(
    name: str,
    dataset: str,
    found: Sequence[RunRecord],
    seeds: Mapping[tuple[str, str], Sequence[RunRecord]],
) -> Study:
    """A study of the trials whose tags can be read."""
    score = _common_score(found)
    read = [readable(one, lambda r: (r, _point(r, score), records.protocol(r))) for one in found]
    kept = sorted((one for one in read if one is not None), key=lambda one: one[1].number)
    protocols = {record.protocol for record, _, _ in kept}
    return Study(
        name,
        dataset,
        score,
        trials=tuple(point for _, point, _ in kept),
        protocol=kept[0][2] if len(protocols) == 1 else None,
        protocols=len(protocols),
        rows=tuple(_trial(r, point, seeds.get((name, r.run_id), ())) for r, point, _ in kept),
        log_dims=frozenset(
            key.removesuffix(_TWIN)
            for record, _, _ in kept
            for key in of_kind(record.metrics, "search")
            if key.endswith(_TWIN)
        ),
    )


def _common_score(trials: Sequence[RunRecord]) -> str:
    """The validation score that most trials have; the report's first column before others at a tie."""
    counts: dict[str, int] = {}
    for record in trials:
        for name in of_kind(record.metrics, "score"):
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: (counts[name], score_base(name) == leading(), name)) if counts else ""


def _trial(record: RunRecord, point: TrialPoint, seeds: Sequence[RunRecord]) -> Trial:
    ended = record.end_time
    hours = None if ended is None else (ended - record.start_time).total_seconds() / 3600
    is_reused = names.REUSED_RUN in record.tags  # it took another run's scores over
    each = [] if is_reused else [_images(one) for one in seeds or (record,)]
    known = [images for images in each if images is not None]
    taken = [] if is_reused else [number(one.metrics.get(names.ENERGY_WH)) for one in seeds or (record,)]
    energies = [energy for energy in taken if energy is not None]
    return Trial(
        point,
        record.run_id,
        record.experiment_id,
        hours,
        sum(known) if known else None,
        max(len(seeds), 1),
        sum(energies) if energies else None,
    )


def _images(record: RunRecord) -> int | None:
    """Day photographs that the run trained on: epochs, steps, batch; else its throughput over its time."""
    epochs = number(record.metrics.get("epoch"))
    steps = number(record.params.get("training.steps_per_epoch"))
    batch = number(record.params.get("training.batch_size"))
    if epochs is not None and steps is not None and batch is not None:
        return round(epochs * steps * batch)
    throughput = number(record.metrics.get(names.IMAGES_PER_S))
    if throughput is None or record.end_time is None:
        return None
    return round(throughput * (record.end_time - record.start_time).total_seconds())


def _point(record: RunRecord, score: str) -> TrialPoint:
    told, best = TrialRecord.read(record), records.best_score(record)
    is_best = best is not None and names.legal(best.name) == score  # the metric's last value is not the best
    value = best.value if best is not None and is_best else told.values["score"].get(score)
    values = (float(value),) if value is not None and math.isfinite(value) else ()
    spans: tuple[Span, ...] = ()
    if told.worker:
        spans = (Span(told.worker, record.start_time, record.end_time),)
    state = told.state or _STATES.get(record.status, record.status)
    std = told.values["score_std"].get(score)
    return TrialPoint(told.number, state, values, _typed(told.searched), std, spans=spans)


def _typed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params come back as text: numbers become numbers again."""
    typed: dict[str, Any] = {}
    for key, value in params.items():
        found = number(value)
        typed[key] = value if found is None else found
    return typed
