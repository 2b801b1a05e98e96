"""From tracked runs to the rows of the report: generators with their scores, arms with their mAP and lineage."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError, TrackingError
from d2n.files.scratch import scratch
from d2n.plots import Span, TrialPoint
from d2n.scores import leading
from d2n.tracking import names, records
from d2n.tracking.records import RetrievalRecord, TranslationRecord, TrialRecord, of_kind, scores

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Params in which two arms may differ and still be compared: what the arm is, and how it is called.
_FREE_PARAMS = (
    "night.", "name", "register_as", "dataset.root", "dataset.index", "evaluation.roots",
    "evaluation.measure_every_epochs",
)  # fmt: skip
_COMPLETE, _PRUNED = "COMPLETE", "PRUNED"
_STATES = {"FINISHED": _COMPLETE, "KILLED": _PRUNED, "FAILED": "FAIL", "RUNNING": "RUNNING"}


@dataclass(frozen=True)
class Generator:
    """A translation run as the report shows it."""

    run_id: str
    name: str  # the experiment's, or the trial's
    method: str
    dataset: str
    dataset_digest: str
    split: str  # test, or val where it was never scored on test
    protocol: ScoreProtocol | None  # of its scores
    scores: Mapping[str, Score]
    model_id: str = ""
    study: str = ""
    trial: str = ""
    commit: str = ""

    @property
    def group(self) -> str:
        """Scores of one group may stand in one table."""
        return self.protocol.identity if self.protocol else "no protocol"


@dataclass(frozen=True)
class MapValue:
    """mAP of one benchmark in percent."""

    mean: float
    std: float | None  # over seeds; None for one seed
    num_seeds: int

    @property
    def standard_error(self) -> float | None:
        """Of the mean."""
        return None if self.std is None else self.std / math.sqrt(self.num_seeds)


@dataclass(frozen=True)
class Arm:
    """A retrieval run: without augmentation (the baseline), or with one."""

    run_id: str
    name: str
    dataset: str
    dataset_digest: str
    augmentation: str  # none, generator, photometric, clahe
    maps: Mapping[str, MapValue]  # by benchmark, such as toycity/night
    settings: Mapping[str, str]  # all params but those that make the arm
    generator_name: str = ""  # the registered model
    generator_version: str = ""
    generator: Generator | None = None  # its translation run, where the store has it
    details: Mapping[str, str] = field(default_factory=dict)  # the night params
    commit: str = ""

    @property
    def is_baseline(self) -> bool:
        """Trained without night augmentation."""
        return self.augmentation == "none"

    @property
    def label(self) -> str:
        """Short name in tables and figures."""
        if self.is_baseline:
            return "baseline"
        if self.augmentation != "generator":
            return self.augmentation
        method = f"{self.generator.method}, {self.generator.dataset}" if self.generator else "generator"
        return f"{method} ({self.generator_name} v{self.generator_version})"


@dataclass(frozen=True)
class Difference:
    """mAP of an arm minus its baseline's, in percent points."""

    value: float
    standard_error: float | None

    @property
    def is_noise(self) -> bool | None:
        """Whether it is under two standard errors; None where they are not known (one seed)."""
        return None if self.standard_error is None else abs(self.value) < 2 * self.standard_error


@dataclass(frozen=True)
class Study:
    """A study as its trials' runs tell it."""

    name: str
    dataset: str
    score: str  # what is shown: the trials' common validation score
    trials: tuple[TrialPoint, ...]
    protocol: ScoreProtocol | None = None  # None: trials of several protocols, or of none
    protocols: int = 1

    def count(self, state: str) -> int:
        """Trials in this state."""
        return sum(trial.state == state for trial in self.trials)


def read_generators(store: Store, dataset: str | None = None) -> list[Generator]:
    """Every translation run that has a score, newest last; of runs and trials alike."""
    found = find(store, "translation", dataset)
    return [made for record in found if (made := _readable(record, _generator)) is not None]


def with_uncertainty(store: Store, generator: Generator) -> Generator:
    """The generator with the deviation, interval and floor of its run's score table: one download."""
    table = _table(store, generator.run_id, scores.table_path(generator.split)) or {}
    rows: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(table.get("score", [])):
        rows[names.legal(str(name))] = {column: values[i] for column, values in table.items()}
    made = {}
    for name, score in generator.scores.items():
        row = rows.get(name, {})
        low, high = _number(row.get("low")), _number(row.get("high"))
        interval = None if low is None or high is None else (low, high)
        floor = _number(row.get("real_vs_real"))
        made[name] = Score(name, score.value, score.protocol, _number(row.get("std")), interval, floor)
    return dataclasses.replace(generator, scores=made)


def read_arms(store: Store, generators: Sequence[Generator], dataset: str | None = None) -> list[Arm]:
    """Every finished retrieval run with an mAP: of the same arm and settings only the newest."""
    by_model = {g.model_id: g for g in generators if g.model_id}
    newest: dict[tuple[Any, ...], Arm] = {}
    for record in find(store, "retrieval", dataset, status="FINISHED"):
        if names.PARENT_RUN in record.tags:
            continue  # a study's: measured on validation scenes to choose by
        arm = _readable(record, lambda one: _arm(one, by_model))
        if arm is not None and arm.maps:
            key = (arm.dataset, tuple(sorted(arm.settings.items())), tuple(sorted(arm.details.items())))
            newest[*key, arm.augmentation, arm.generator_name, arm.generator_version] = arm
    return list(newest.values())


def read_studies(store: Store, dataset: str | None = None) -> list[Study]:
    """Every study that has trials, from its trials' runs."""
    grouped: dict[tuple[str, str], list[RunRecord]] = {}
    kinds = ("trial", "translation", "retrieval")
    for record in (record for kind in kinds for record in find(store, kind, dataset)):
        if TrialRecord.is_one(record):
            key = record.tags[names.STUDY], record.tags.get(names.DATASET, "")
            grouped.setdefault(key, []).append(record)
    made = (_study(name, data, found) for (name, data), found in sorted(grouped.items()))
    return [study for study in made if study.trials]


def find(store: Store, kind: str, dataset: str | None, status: str | None = None) -> list[RunRecord]:
    """Runs of a kind and data set, oldest first."""
    tags = {names.KIND: kind} | ({names.DATASET: dataset} if dataset else {})
    found = store.find_runs(tags=tags, status=status)
    return sorted(found, key=lambda record: (record.start_time, record.run_id))


def baseline_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm without augmentation of the same data set and settings."""
    same = (a for a in arms if a.is_baseline and a.dataset == arm.dataset and a.settings == arm.settings)
    return next(same, None) if not arm.is_baseline else None


def difference(arm: Arm, baseline: Arm | None, benchmark: str) -> Difference | None:
    """mAP against the baseline; the standard error takes the seeds of both as independent."""
    ours = arm.maps.get(benchmark)
    theirs = baseline.maps.get(benchmark) if baseline else None
    if ours is None or theirs is None:
        return None
    errors = ours.standard_error, theirs.standard_error
    both = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return Difference(ours.mean - theirs.mean, both)


def read_prd(store: Store, generator: Generator) -> tuple[list[float], list[float]] | None:
    """(precision, recall) of a generator on the split of its scores; None where no table was logged."""
    table = _table(store, generator.run_id, scores.prd_places(generator.split)[2])
    if table is None or not table.get("precision"):
        return None
    return [float(p) for p in table["precision"]], [float(r) for r in table["recall"]]


def read_sample_sheet(store: Store, generator: Generator) -> bytes | None:
    """The PNG with day over fake night; None where none was logged."""
    with scratch("report") as folder:
        path = _artifact(store, generator.run_id, names.SAMPLE_SHEET, folder)
        return path.read_bytes() if path is not None else None


def score_base(name: str) -> str:
    """``fid.squeezenet1_0`` → ``fid``."""
    return name.split(".")[0]


def require_runs(generators: Sequence[Generator], arms: Sequence[Arm], dataset: str | None) -> None:
    """D2NError that names the command, where there is nothing to report."""
    if not generators and not arms:
        of = f" of {dataset}" if dataset else ""
        raise D2NError(
            f"the tracking store has no scored translation run and no retrieval run{of}; make one with `d2n demo`, "
            "`d2n train experiments/<name>.yaml` or `d2n retrieve experiments/<name>.yaml`"
        )


def _generator(record: RunRecord) -> Generator | None:
    told = TranslationRecord.read(record)
    split = "test" if told.test_scores else "val"
    protocol = told.test_protocol if split == "test" else told.protocol
    scores = told.test_scores or told.scores
    if not scores:
        return None
    return Generator(
        run_id=record.run_id,
        name=record.name,
        method=told.method,
        dataset=told.dataset,
        dataset_digest=told.dataset_digest,
        split=split,
        protocol=protocol,
        scores={name: Score(name, value, protocol) for name, value in scores.items()},
        model_id=told.model_id,
        study=told.study,
        trial=told.trial,
        commit=told.commit,
    )


def _arm(record: RunRecord, by_model: Mapping[str, Generator]) -> Arm:
    told = RetrievalRecord.read(record)
    nights = {key: value for key, value in told.knobs.items() if key.startswith("night.")}
    return Arm(
        run_id=record.run_id,
        name=record.name,
        dataset=told.dataset,
        dataset_digest=told.dataset_digest,
        augmentation=told.arm,
        maps={
            name: MapValue(100 * one.mean, None if one.std is None else 100 * one.std, one.num_seeds)
            for name, one in told.maps.items()
        },
        settings={key: value for key, value in told.knobs.items() if not key.startswith(_FREE_PARAMS)},
        generator_name=told.generator_name,
        generator_version=told.generator_version,
        generator=by_model.get(told.generator_model_id),
        details=nights if told.arm != "none" else {},
        commit=told.commit,
    )


def _study(name: str, dataset: str, found: Sequence[RunRecord]) -> Study:
    """A study of the trials whose tags can be read."""
    score = _common_score(found)
    read = [_readable(one, lambda r: (r, _trial(r, score), records.protocol(r))) for one in found]
    kept = [one for one in read if one is not None]
    trials = tuple(sorted((trial for _, trial, _ in kept), key=lambda trial: trial.number))
    protocols = {record.tags.get(names.PROTOCOL, "") for record, _, _ in kept}
    return Study(name, dataset, score, trials, kept[0][2] if len(protocols) == 1 else None, len(protocols))


def _readable(record: RunRecord, read: Callable[[RunRecord], T]) -> T | None:
    """What is read from a run; None, with a warning that names it, where someone edited what it holds."""
    try:
        return read(record)
    except records.UnreadableError as error:
        logger.warning("left out: %s", error)
        return None


def _common_score(trials: Sequence[RunRecord]) -> str:
    """The validation score that most trials have; the report's first column before others at a tie."""
    counts: dict[str, int] = {}
    for record in trials:
        for name in of_kind(record.metrics, "score"):
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: (counts[name], score_base(name) == leading(), name)) if counts else ""


def _trial(record: RunRecord, score: str) -> TrialPoint:
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
        number = _number(value)
        typed[key] = value if number is None else number
    return typed


def _as_json(text: str | None) -> dict[str, Any]:
    """A JSON object; empty for whatever is none."""
    try:
        values = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return values if isinstance(values, dict) else {}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _table(store: Store, run_id: str, path: str) -> dict[str, list[Any]] | None:
    """Columns of a logged table (pandas' "split" layout)."""
    with scratch("report") as folder:
        file = _artifact(store, run_id, path, folder)
        values = _as_json(file.read_text(encoding="utf-8")) if file is not None else {}
    if "columns" not in values or "data" not in values:
        return None
    return {column: [row[i] for row in values["data"]] for i, column in enumerate(values["columns"])}


def _artifact(store: Store, run_id: str, path: str, folder: Path) -> Path | None:
    try:
        found = store.artifact(run_id, path, folder)
    except TrackingError as error:
        logger.info("run %s has no %s: %s", run_id, path, error)
        return None
    return found if found.is_file() else None
